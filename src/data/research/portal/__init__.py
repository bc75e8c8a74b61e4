"""Bar values as a backtest could have known them at a given time."""
