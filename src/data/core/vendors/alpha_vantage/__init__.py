"""Alpha Vantage: bars of stocks, currencies and crypto, and company data."""
