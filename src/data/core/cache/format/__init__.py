"""The bytes of cache files: members of year files, documents, columns.

Nothing here depends on a series.
"""
