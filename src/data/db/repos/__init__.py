"""The logic of the records, as plain functions over a session of a unit of work."""
