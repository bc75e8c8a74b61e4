"""Live and past bars as Backtrader data feeds."""
