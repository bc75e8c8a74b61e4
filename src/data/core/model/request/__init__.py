"""Questions and plans: queries, capabilities, HTTP values, health."""
