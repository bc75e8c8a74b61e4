"""The script that Alembic runs: revisions on the caller's connection, in its transaction."""

from alembic import context

if hasattr(context, "config"):  # run by Alembic; otherwise only imported
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=attributes["metadata"],
        version_table=attributes["version_table"],
        version_table_schema=attributes["schema"],
    )
    context.run_migrations()
