"""Alpaca: bars and splits of American stocks, pairs on its own venue, a stream of minute bars."""
