"""Tests of the doors: the brief, tools for agents, pages and bars for other programs."""
