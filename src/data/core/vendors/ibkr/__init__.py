"""Interactive Brokers: bars through a gateway run by the user."""
