"""Datasets, bundles and stored series in one SQLite file."""
