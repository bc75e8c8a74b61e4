"""Alerts on closed bars: their types, their stored form, their bars, and the job that sends messages."""
