"""Recorded answers from other vendors, parsed as those vendors' answers are."""
