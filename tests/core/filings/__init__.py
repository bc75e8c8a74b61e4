"""Filings with the SEC, over a local server that speaks both of its addresses."""
