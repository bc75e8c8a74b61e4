"""Polygon, called Massive since 2025: bars, company data, a stream of minute bars."""
