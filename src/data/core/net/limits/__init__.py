"""Whether and when a vendor may be asked: limits, circuits, leases, and their shared state."""
