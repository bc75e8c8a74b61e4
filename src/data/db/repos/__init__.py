"""The repositories: logic on the tables, in the session of a unit of work."""
