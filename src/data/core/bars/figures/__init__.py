"""Answers that are not bars: last prices, figures of futures, symbols by name."""
