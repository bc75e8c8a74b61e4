"""Recorded answers of other vendors, read as those vendors are read."""
