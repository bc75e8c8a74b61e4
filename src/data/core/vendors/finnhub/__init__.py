"""Finnhub: bars of stocks and of Binance's pairs, company data, a stream of trades."""
