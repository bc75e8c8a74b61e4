"""From stored bars to the caller's frame: adjustment, provenance, gaps."""
