"""Symbols, corporate actions, dated identity, boundaries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_DECIMAL = sa.Numeric().with_variant(sa.String(), "sqlite")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables for symbols, their splits and dividends, aliases and boundaries."""
    schema = op.get_context().version_table_schema
    op.create_table(
        "symbols_v2",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("company_name", sa.Text()),
        sa.Column("sector", sa.Text()),
        sa.Column("industry", sa.Text()),
        sa.Column("market_cap", sa.BigInteger()),
        sa.Column("exchange", sa.Text()),
        sa.Column("currency", sa.Text()),
        sa.Column("is_active", sa.Boolean()),
        sa.Column("ipo_date", sa.Date()),
        sa.Column("delisting_date", sa.Date()),
        sa.Column("first_price_date", sa.Date()),
        sa.Column("last_price_date", sa.Date()),
        sa.Column("available_timeframes", sa.JSON()),
        sa.Column("data_quality_score", _DECIMAL),
        sa.Column("avg_daily_volume", sa.BigInteger()),
        sa.Column("avg_daily_dollar_volume", _DECIMAL),
        sa.Column("volatility_30d", _DECIMAL),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("symbol", name="pk_symbols_v2"),
        schema=schema,
    )
    op.create_table(
        "corporate_actions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("ex_date", sa.Date(), nullable=False),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("ratio", _DECIMAL),
        sa.Column("numerator", _DECIMAL),
        sa.Column("denominator", _DECIMAL),
        sa.Column("amount", _DECIMAL),
        sa.Column("currency", sa.Text()),
        sa.Column("description", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_at", _INSTANT, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_corporate_actions"),
        sa.UniqueConstraint(
            "symbol",
            "ex_date",
            "action_type",
            name="uq_corporate_actions_symbol_ex_date_action_type",
        ),
        schema=schema,
    )
    op.create_table(
        "symbol_aliases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date()),
        sa.Column("valid_to", sa.Date()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("is_closed", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_symbol_aliases"),
        sa.UniqueConstraint(
            "symbol",
            "instrument",
            "valid_from",
            name="uq_symbol_aliases_symbol_instrument_valid_from",
        ),
        sa.CheckConstraint("valid_from < valid_to", name="ck_symbol_aliases_dates"),
        schema=schema,
    )
    op.create_table(
        "symbol_boundaries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("effective_date", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("successor", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_symbol_boundaries"),
        sa.UniqueConstraint(
            "symbol",
            "effective_date",
            "kind",
            "successor",
            "origin",
            name="uq_symbol_boundaries_change",
        ),
        sa.CheckConstraint(
            "kind IN ('rename', 'merger', 'spinoff', 'delisting')", name="ck_symbol_boundaries_kind"
        ),
        schema=schema,
    )


def downgrade() -> None:
    """Drop these tables and their contents."""
    schema = op.get_context().version_table_schema
    for name in ("symbol_boundaries", "symbol_aliases", "corporate_actions", "symbols_v2"):
        op.drop_table(name, schema=schema)
