"""SEC (U.S. Securities and Exchange Commission): companies' filings, with the times of their acceptance."""
