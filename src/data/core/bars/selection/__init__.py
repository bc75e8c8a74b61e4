"""Which vendors may be queried, in which order, and why others may not."""
