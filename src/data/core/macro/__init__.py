"""Macro series with their revisions: as they are now, and as they were published on any day."""
