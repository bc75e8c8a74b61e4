"""Maintenance of a cache folder: checked, compacted, reported."""
