"""For programs written for other tools: older paths, older classes, calls of yfinance."""
