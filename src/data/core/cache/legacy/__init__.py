"""Files of older tools: read, imported, and finally deleted."""
