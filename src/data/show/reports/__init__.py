"""Reports as pages: one series, everything that is stored, a night's jobs."""
