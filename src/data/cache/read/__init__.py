"""Reads of series: what is held, year files, columns, memory."""
