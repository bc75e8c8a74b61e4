"""What prices mean: adjustment, quality of rows, resampling, comparison of vendors. Pure."""
