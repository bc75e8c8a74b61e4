"""Universes with dated members."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables for universes, their records and their members."""
    schema = op.get_context().version_table_schema
    scope = f"{schema}." if schema else ""
    op.create_table(
        "universes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("checked_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_universes"),
        sa.CheckConstraint("type IN ('static', 'filter', 'index')", name="ck_universes_type"),
        schema=schema,
    )
    op.create_table(
        "universe_records",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("universe", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("is_dated", sa.Boolean(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_change", sa.Date()),
        sa.Column("habit_days", sa.Integer()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_universe_records"),
        sa.UniqueConstraint(
            "universe", "recorded_at", name="uq_universe_records_universe_recorded_at"
        ),
        sa.ForeignKeyConstraint(
            ["universe"], [f"{scope}universes.name"], name="fk_universe_records_universe"
        ),
        schema=schema,
    )
    op.create_table(
        "universe_members",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("universe", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date()),
        sa.Column("valid_to", sa.Date()),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("record", sa.Integer(), nullable=False),
        sa.Column("replaced_by", sa.Integer()),
        sa.PrimaryKeyConstraint("id", name="pk_universe_members"),
        sa.CheckConstraint("valid_from < valid_to", name="ck_universe_members_dates"),
        sa.ForeignKeyConstraint(
            ["universe"], [f"{scope}universes.name"], name="fk_universe_members_universe"
        ),
        sa.ForeignKeyConstraint(
            ["record"], [f"{scope}universe_records.id"], name="fk_universe_members_record"
        ),
        sa.ForeignKeyConstraint(
            ["replaced_by"], [f"{scope}universe_records.id"], name="fk_universe_members_replaced_by"
        ),
        schema=schema,
    )
    op.create_index(
        "ix_universe_members_day",
        "universe_members",
        ["universe", "valid_to", "valid_from", "symbol", "record", "replaced_by"],
        schema=schema,
    )


def downgrade() -> None:
    """Drop these tables and their contents."""
    schema = op.get_context().version_table_schema
    for name in ("universe_members", "universe_records", "universes"):
        op.drop_table(name, schema=schema)
