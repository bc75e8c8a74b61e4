"""Fundamentals: what each vendor says about a company, merged into one record that tells who said what."""
