"""Commits: what is written, by which protocol, under which lock."""
