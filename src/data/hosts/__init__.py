"""One log for many hosts: PostgreSQL stores the commits in order, and each cache folder is a copy.

This package is imported only if ``store:`` or ``ONETAPE_STORE`` names a server.
"""
