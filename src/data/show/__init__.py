"""Pictures and pages of what is already known about bars; sends no request."""
