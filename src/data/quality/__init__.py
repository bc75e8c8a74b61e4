"""Validation of stored bars: checks of a series alone, beside a second vendor, beside its exchange."""
