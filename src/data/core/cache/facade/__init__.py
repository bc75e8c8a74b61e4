"""The cache as seen by other programs: frames, lists, statistics."""
