"""Judgement of bars: the defects that a series and its known actions reveal. Pure."""
