"""Read-only doors to an installation: a brief, tools for agents, pages and bars for other programs.

Everything here shows values that the data manager, its client and the jobs compute. Nothing in it
changes data, and no vendor is queried unless that was allowed when the door was opened.
"""
