"""Alpha Vantage: bars of stocks, currencies and crypto, and fields of companies."""
