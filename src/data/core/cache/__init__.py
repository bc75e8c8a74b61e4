"""Everything that is stored: bars in year files, and data derived from them.

Read ``values.py``, ``layout.py`` and ``lane_files.py`` first, then ``store.py``, which uses the rest:
``format/`` (bytes of the files), ``read/series_reader.py``, ``write/commit.py``,
``write/year_commit.py``, ``write/year_writer.py``, ``recovery/recover.py`` and ``retention/``.
"""
