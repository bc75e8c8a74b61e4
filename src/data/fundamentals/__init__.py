"""Fundamentals: what each vendor has of a company, merged into one record with the vendor of each value."""
