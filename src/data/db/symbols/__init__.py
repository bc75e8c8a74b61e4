"""Symbols with a history: the facts about them, their actions, their identity by date."""
