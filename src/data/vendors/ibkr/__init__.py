"""Interactive Brokers: bars through a gateway of the user's."""
