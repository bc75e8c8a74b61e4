"""Finds the defects in bars that a series and its known actions reveal. Pure."""
