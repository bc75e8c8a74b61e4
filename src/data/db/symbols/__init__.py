"""Symbols with a history: what is known of them, their actions, their identity by date."""
