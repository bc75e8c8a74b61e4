"""Polygon, called Massive since 2025: bars, fields of companies, a stream of minutes."""
