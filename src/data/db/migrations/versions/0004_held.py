"""The quantity of a position at the start of each day, to credit dividends after it has closed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column ``held`` to the positions table."""
    schema = op.get_context().version_table_schema
    op.add_column("trading_positions", sa.Column("held", sa.JSON()), schema=schema)


def downgrade() -> None:
    """Remove the column ``held``."""
    schema = op.get_context().version_table_schema
    with op.batch_alter_table("trading_positions", schema=schema) as table:
        table.drop_column("held")
