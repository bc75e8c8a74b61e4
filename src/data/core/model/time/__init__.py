"""Instants, spans, timeframes and lengths of time, in milliseconds."""
