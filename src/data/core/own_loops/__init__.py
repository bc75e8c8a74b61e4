"""Limits and retries for loops that programs write themselves."""
