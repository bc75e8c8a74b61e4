"""Yahoo Finance: bars of nearly everything that is listed, and company data."""
