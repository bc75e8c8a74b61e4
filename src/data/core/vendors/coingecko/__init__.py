"""CoinGecko: averages over the world's venues, and coin data."""
