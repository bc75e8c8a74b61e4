"""What the library tells of its work: logs, counters, events, and counters for Prometheus."""
