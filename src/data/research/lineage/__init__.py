"""Which bars a backtest read, checked again a year later."""
