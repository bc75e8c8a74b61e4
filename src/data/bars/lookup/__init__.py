"""Answers out of the store and out of memory; no vendor is asked."""
