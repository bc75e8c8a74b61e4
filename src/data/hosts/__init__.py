"""Many hosts, one log: PostgreSQL holds the order of commits, and each cache folder is a copy.

Nothing here is imported unless ``store:`` or ``ONETAPE_STORE`` names a server.
"""
