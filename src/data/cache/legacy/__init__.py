"""Files of older tools: read, taken over, and deleted at last."""
