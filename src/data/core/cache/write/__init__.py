"""Commits: their content, protocol and lock."""
