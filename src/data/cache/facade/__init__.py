"""The cache as other programs know it: frames, lists, statistics."""
