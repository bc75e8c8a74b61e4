"""Reads series: summaries, year files, columns, memory."""
