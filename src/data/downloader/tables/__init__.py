"""Field tables: what each vendor tells of a company or coin, and how its answers are read."""
