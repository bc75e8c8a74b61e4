"""Everything that is kept: bars in year files, and what is derived from them."""
