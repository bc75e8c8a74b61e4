"""Files of series that many hosts share: PostgreSQL stores their bytes, and each cache folder is a copy.

This package is imported only if ``store:`` or ``ONETAPE_STORE`` names a server.

This package is provisional: a minor release may change its names, results and stored data.
"""
