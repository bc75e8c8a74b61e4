"""CoinGecko: averages over the world's venues, and fields of coins."""
