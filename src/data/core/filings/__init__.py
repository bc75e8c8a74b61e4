"""Companies' filings with the SEC: kept as they were sent, and read for a symbol at a time."""
