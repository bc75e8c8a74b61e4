"""The meaning of prices: adjustment, quality of rows, resampling, comparison of vendors. Pure."""
