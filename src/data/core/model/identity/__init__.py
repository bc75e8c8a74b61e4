"""What a series is: kind, instrument, venue, symbol and its changes."""
