"""Decisions without deeds: pure functions of what they are given, time included."""
