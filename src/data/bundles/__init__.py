"""What backtests read, and the files that are made of it: bundles, lineage."""
