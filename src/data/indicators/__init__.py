"""Features computed from bars, and the check of a user's own."""
