"""Recorded answers from other vendors, parsed by those vendors' classes."""
