"""Financial Modeling Prep: bars of stocks and indices, and company data."""
