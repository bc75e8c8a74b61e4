"""Pictures and pages of what is already known about bars: charts and reports."""
