"""Everything that is stored: bars in year files, and data derived from them."""
