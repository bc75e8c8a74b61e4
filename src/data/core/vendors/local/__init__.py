"""The user's own files as a vendor."""
