"""Binance: bars of spot pairs, whole months from its archive, derivatives, streams of bars."""
