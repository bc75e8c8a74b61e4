"""Revisions of the tables, applied by Alembic in one transaction."""
