"""Older interfaces: what is served under its old name, and what is not, with its successor."""
