"""Reports of batches and jobs: each finished series, the cost, failures with their reasons."""
