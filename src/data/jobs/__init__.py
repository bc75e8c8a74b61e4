"""Longer work on top of the core: what runs at night, checks stored bars, looks after a machine."""
