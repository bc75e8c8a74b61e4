"""Pictures and pages of what is already known of bars: charts, reports."""
