"""Judgement of bars: what a series, with the actions known of it, tells of its own defects. Pure."""
