"""The logic of the records, working on the session of a unit of work."""
