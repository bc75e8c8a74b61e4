"""Text without a domain: suggestions, escapes, canonical JSON. Imports nothing."""
