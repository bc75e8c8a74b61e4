"""Recorded answers from other vendors, parsed by the classes of those vendors."""
