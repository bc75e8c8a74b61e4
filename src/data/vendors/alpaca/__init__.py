"""Alpaca: bars and splits of American stocks, pairs of its own venue, a stream of minutes."""
