"""All tables of the models; with TimescaleDB, ``prices_v2`` is divided into chunks.

Before a second revision is added, write out here the tables as they are then, because the models
will describe the newer ones.
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_log = logging.getLogger(__name__)
_HAS_TIMESCALEDB = sa.text("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")


def upgrade() -> None:
    """Create the tables. A table of another program with one of their names is an error."""
    connection = op.get_bind()
    op.get_context().opts["target_metadata"].create_all(connection, checkfirst=False)
    if connection.dialect.name != "postgresql":
        return
    if connection.scalar(_HAS_TIMESCALEDB):
        for statement in chunked(f"{op.get_context().version_table_schema}.prices_v2"):
            op.execute(statement)
    else:
        _log.info("prices_v2 is an ordinary table: TimescaleDB is not installed")


def chunked(table: str) -> list[str]:
    """Return the statements that divide a table by time and symbol, and compress older chunks."""
    return [
        f"SELECT create_hypertable('{table}', 'timestamp', create_default_indexes => FALSE)",
        f"SELECT add_dimension('{table}', 'symbol', number_partitions => 8)",
        f"ALTER TABLE {table} SET (timescaledb.compress, "
        "timescaledb.compress_segmentby = 'symbol,timeframe', "
        "timescaledb.compress_orderby = 'timestamp DESC')",
        f"SELECT add_compression_policy('{table}', INTERVAL '7 days')",
    ]


def downgrade() -> None:
    """Drop the tables and their contents."""
    op.get_context().opts["target_metadata"].drop_all(op.get_bind())
