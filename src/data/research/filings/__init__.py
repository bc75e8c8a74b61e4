"""Announcements of earnings, statement lines and evidence on splits, from filings with the SEC."""
