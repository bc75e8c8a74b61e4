"""Made-up bars, for trying programs without a network."""
