"""One database, on SQLite or PostgreSQL: its URL, units of work, column types, schema."""
