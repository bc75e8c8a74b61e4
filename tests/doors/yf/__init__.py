"""``onetape.yf`` beside the real yfinance, on one local server."""
