"""Databases for the snippets of the second data layer, each on both engines."""

import tests.db.conftest as of_databases

_file, tables, data_home = of_databases._file, of_databases.tables, of_databases.data_home
database, postgresql = of_databases.database, of_databases.postgresql
