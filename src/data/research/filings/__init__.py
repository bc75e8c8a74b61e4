"""What filings with the SEC say: announcements of earnings, statement lines, evidence on splits."""
