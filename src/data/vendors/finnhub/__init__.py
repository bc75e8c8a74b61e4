"""Finnhub: bars of shares and of Binance's pairs, company data, a stream of trades."""
