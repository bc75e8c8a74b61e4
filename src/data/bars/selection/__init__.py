"""Which vendors may be asked, in which order, and why others may not."""
