"""Bars as frames of Polars: floats or Decimals, longer bars, lazy and aligned."""
