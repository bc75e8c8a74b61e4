"""Finnhub: bars of shares and of Binance's pairs, fields of companies, a stream of trades."""
