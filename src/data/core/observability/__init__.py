"""Reports on the library's work: logs, counters, events, and counters for Prometheus."""
