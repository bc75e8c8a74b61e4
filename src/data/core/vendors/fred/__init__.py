"""FRED (Federal Reserve Bank of St. Louis): macro series with every value's dates of publication."""
