"""Financial Modeling Prep: bars of stocks and indices, and fields of companies."""
