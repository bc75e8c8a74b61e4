"""What is known about stored bars: coverage, reasons, lifetime, retention, incidents."""
