"""Detects damage, repairs it, and quarantines damaged files."""
