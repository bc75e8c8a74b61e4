"""Users, chats, jobs with alerts and runs, trading."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_DECIMAL = sa.Numeric().with_variant(sa.String(), "sqlite")
_INSTANT = sa.DateTime(timezone=True)
_TABLES = (
    "trading_performance_metrics",
    "trading_positions",
    "trading_trades",
    "trading_bots",
    "job_schedule_runs",
    "job_schedules",
    "telegram_command_audits",
    "telegram_feedbacks",
    "telegram_settings",
    "usr_verification_codes",
    "usr_auth_identities",
    "usr_users",
)


def upgrade() -> None:
    """Create the tables for users, chats, jobs and trading records."""
    schema = op.get_context().version_table_schema
    user = f"{schema}.usr_users.id" if schema else "usr_users.id"
    op.create_table(
        "usr_users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.Text()),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("last_login", _INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_usr_users"),
        sa.UniqueConstraint("email", name="uq_usr_users_email"),
        sqlite_autoincrement=True,
        schema=schema,
    )
    op.create_table(
        "usr_auth_identities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_usr_auth_identities"),
        sa.UniqueConstraint(
            "provider", "external_id", name="uq_usr_auth_identities_provider_external_id"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], [user], name="fk_usr_auth_identities_user_id", ondelete="CASCADE"
        ),
        schema=schema,
    )
    op.create_index(
        "ix_usr_auth_identities_user_id", "usr_auth_identities", ["user_id"], schema=schema
    )
    op.create_table(
        "usr_verification_codes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("email", sa.Text()),
        sa.Column("sent_time", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("wrong_tries", sa.Integer(), nullable=False),
        sa.Column("is_void", sa.Boolean(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_usr_verification_codes"),
        sa.ForeignKeyConstraint(
            ["user_id"], [user], name="fk_usr_verification_codes_user_id", ondelete="CASCADE"
        ),
        schema=schema,
    )
    op.create_index(
        "ix_usr_verification_codes_user_id", "usr_verification_codes", ["user_id"], schema=schema
    )
    op.create_table(
        "telegram_settings",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text()),
        sa.PrimaryKeyConstraint("key", name="pk_telegram_settings"),
        schema=schema,
    )
    op.create_table(
        "telegram_feedbacks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_telegram_feedbacks"),
        sa.ForeignKeyConstraint(
            ["user_id"], [user], name="fk_telegram_feedbacks_user_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
        schema=schema,
    )
    op.create_index(
        "ix_telegram_feedbacks_user_id", "telegram_feedbacks", ["user_id"], schema=schema
    )
    op.create_table(
        "telegram_command_audits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("telegram_user_id", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("full_message", sa.Text()),
        sa.Column("is_registered_user", sa.Boolean(), nullable=False),
        sa.Column("user_email", sa.Text()),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("error_message", sa.Text()),
        sa.Column("response_time_ms", sa.Integer()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_telegram_command_audits"),
        schema=schema,
    )
    op.create_index(
        "ix_telegram_command_audits_created_at",
        "telegram_command_audits",
        ["created_at"],
        schema=schema,
    )
    op.create_index(
        "ix_telegram_command_audits_telegram_user_id",
        "telegram_command_audits",
        ["telegram_user_id"],
        schema=schema,
    )
    op.create_table(
        "job_schedules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("task_params", sa.JSON(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("next_run_at", _INSTANT),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("state_json", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_job_schedules"),
        sa.ForeignKeyConstraint(
            ["user_id"], [user], name="fk_job_schedules_user_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
        schema=schema,
    )
    op.create_index(
        "ix_job_schedules_job_type_enabled_next_run_at",
        "job_schedules",
        ["job_type", "enabled", "next_run_at"],
        schema=schema,
    )
    op.create_index("ix_job_schedules_user_id", "job_schedules", ["user_id"], schema=schema)
    op.create_table(
        "job_schedule_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text()),
        sa.Column("user_id", sa.Integer()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("scheduled_for", _INSTANT, nullable=False),
        sa.Column("enqueued_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("finished_at", _INSTANT),
        sa.Column("worker_id", sa.Text()),
        sa.Column("job_snapshot", sa.JSON()),
        sa.Column("result", sa.JSON()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_job_schedule_runs"),
        sa.UniqueConstraint(
            "job_type",
            "job_id",
            "scheduled_for",
            name="uq_job_schedule_runs_job_type_job_id_scheduled_for",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], [user], name="fk_job_schedule_runs_user_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
        schema=schema,
    )
    op.create_index(
        "ix_job_schedule_runs_status_job_type",
        "job_schedule_runs",
        ["status", "job_type"],
        schema=schema,
    )
    op.create_index("ix_job_schedule_runs_user_id", "job_schedule_runs", ["user_id"], schema=schema)
    op.create_table(
        "trading_bots",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Integer()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("last_heartbeat", _INSTANT),
        sa.Column("error_count", sa.Integer(), nullable=False),
        sa.Column("current_balance", _DECIMAL),
        sa.Column("total_pnl", _DECIMAL),
        sa.Column("extra_metadata", sa.JSON()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_trading_bots"),
        sa.ForeignKeyConstraint(
            ["user_id"], [user], name="fk_trading_bots_user_id", ondelete="SET NULL"
        ),
        schema=schema,
    )
    op.create_index("ix_trading_bots_status", "trading_bots", ["status"], schema=schema)
    op.create_table(
        "trading_trades",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.Text(), nullable=False),
        sa.Column("trade_type", sa.Text(), nullable=False),
        sa.Column("strategy_name", sa.Text()),
        sa.Column("entry_logic_name", sa.Text()),
        sa.Column("exit_logic_name", sa.Text()),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text()),
        sa.Column("entry_time", _INSTANT),
        sa.Column("exit_time", _INSTANT),
        sa.Column("buy_order_created", _INSTANT),
        sa.Column("buy_order_closed", _INSTANT),
        sa.Column("sell_order_created", _INSTANT),
        sa.Column("sell_order_closed", _INSTANT),
        sa.Column("entry_price", _DECIMAL),
        sa.Column("exit_price", _DECIMAL),
        sa.Column("entry_value", _DECIMAL),
        sa.Column("exit_value", _DECIMAL),
        sa.Column("size", _DECIMAL),
        sa.Column("direction", sa.Text()),
        sa.Column("commission", _DECIMAL),
        sa.Column("gross_pnl", _DECIMAL),
        sa.Column("net_pnl", _DECIMAL),
        sa.Column("pnl_percentage", _DECIMAL),
        sa.Column("exit_reason", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("extra_metadata", sa.JSON()),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("position_id", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_trading_trades"),
        schema=schema,
    )
    op.create_index("ix_trading_trades_bot_id", "trading_trades", ["bot_id"], schema=schema)
    op.create_index(
        "ix_trading_trades_status_symbol", "trading_trades", ["status", "symbol"], schema=schema
    )
    op.create_table(
        "trading_positions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.Text(), nullable=False),
        sa.Column("trade_type", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("opened_at", _INSTANT, nullable=False),
        sa.Column("closed_at", _INSTANT),
        sa.Column("filled_at", _INSTANT),
        sa.Column("qty_open", _DECIMAL, nullable=False),
        sa.Column("avg_price", _DECIMAL),
        sa.Column("realized_pnl", _DECIMAL, nullable=False),
        sa.Column("exact_price", sa.Text()),
        sa.Column("cash", _DECIMAL, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("extra_metadata", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_trading_positions"),
        schema=schema,
    )
    is_open = sa.text("status = 'open'")
    op.create_index(
        "uq_trading_positions_open",
        "trading_positions",
        ["bot_id", "trade_type", "symbol"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
        schema=schema,
    )
    op.create_table(
        "trading_performance_metrics",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.Text(), nullable=False),
        sa.Column("trade_type", sa.Text()),
        sa.Column("symbol", sa.Text()),
        sa.Column("interval", sa.Text()),
        sa.Column("entry_logic_name", sa.Text()),
        sa.Column("exit_logic_name", sa.Text()),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("calculated_at", _INSTANT, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trading_performance_metrics"),
        schema=schema,
    )
    op.create_index(
        "ix_trading_performance_metrics_bot_id",
        "trading_performance_metrics",
        ["bot_id"],
        schema=schema,
    )


def downgrade() -> None:
    """Drop these tables and their contents."""
    schema = op.get_context().version_table_schema
    for name in _TABLES:
        op.drop_table(name, schema=schema)
