"""Copies of bars for the second data layer, and their freshness."""

import logging
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_INSTANT = sa.DateTime(timezone=True)
_log = logging.getLogger(__name__)


def _decimal(precision: int, scale: int) -> sa.types.TypeEngine[Any]:
    return sa.Numeric(precision, scale).with_variant(sa.String(), "sqlite")


def upgrade() -> None:
    """Create the two tables; on PostgreSQL with TimescaleDB, divide the first into chunks."""
    schema = op.get_context().version_table_schema
    op.create_table(
        "prices_v2",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("timestamp", _INSTANT, nullable=False),
        sa.Column("timeframe", sa.Text(), nullable=False),
        sa.Column("open", _decimal(12, 4), nullable=False),
        sa.Column("high", _decimal(12, 4), nullable=False),
        sa.Column("low", _decimal(12, 4), nullable=False),
        sa.Column("close", _decimal(12, 4), nullable=False),
        sa.Column("volume", sa.BigInteger(), nullable=False),
        sa.Column("adj_close", _decimal(12, 4)),
        sa.Column("split_factor", _decimal(8, 4), server_default=sa.text("'1.0'")),
        sa.Column("dividend", _decimal(8, 4), server_default=sa.text("'0.0'")),
        sa.Column("data_source", sa.Text(), nullable=False),
        sa.Column("quality_score", _decimal(4, 3), server_default=sa.text("'1.0'")),
        sa.Column("is_interpolated", sa.Boolean(), server_default=sa.text("FALSE")),
        sa.Column("created_at", _INSTANT, server_default=sa.func.current_timestamp()),
        sa.PrimaryKeyConstraint("symbol", "timeframe", "timestamp", name="pk_prices_v2"),
        schema=schema,
    )
    op.create_index(
        "ix_prices_v2_symbol_timeframe_timestamp",
        "prices_v2",
        ["symbol", "timeframe", sa.text("timestamp DESC")],
        schema=schema,
    )
    op.create_table(
        "data_freshness",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("timeframe", sa.Text(), nullable=False),
        sa.Column("last_update", _INSTANT, nullable=False),
        sa.Column("last_timestamp", _INSTANT, nullable=False),
        sa.Column("data_source", sa.Text(), nullable=False),
        sa.Column("record_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("symbol", "timeframe", name="pk_data_freshness"),
        schema=schema,
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        found = sa.text("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")
        if connection.scalar(found):
            for statement in chunked(f"{schema}.prices_v2"):
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
    """Drop the two tables and their contents."""
    schema = op.get_context().version_table_schema
    op.drop_table("data_freshness", schema=schema)
    op.drop_table("prices_v2", schema=schema)
