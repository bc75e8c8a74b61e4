"""Answers as folders of Parquet files: written, compared with the store, read, scanned."""
