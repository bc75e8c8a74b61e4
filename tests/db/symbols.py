"""Managers, files of changes and dumps of tables for the tests of symbols."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, select

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.db.core.database import Database
from src.data.db.symbols.models import CorporateAction, Symbol, SymbolName
from src.data.db.symbols.tables import ImportReport, import_changes

NOW = datetime(2024, 6, 12, 15, 0, 30, tzinfo=UTC)
_RULES = """\
stock_daily: {{primary: yahoo, backup: []}}
crypto: {{primary: binance, backup: []}}
providers:
  yahoo: {{base_url: '{yahoo}', transport: http, rate_limits: {fast}}}
  binance: {{base_url: '{binance}', transport: http}}
"""
_FAST = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"


def manager_on(folder: Path, clock: ManualClock, vendors: Any = None) -> DataManager:
    """Return a manager whose vendors are the local server; without it none can be reached."""
    rules = folder / "rules.yaml"
    nowhere = "http://127.0.0.1:9"
    urls = {name: vendors.base_url(name) if vendors else nowhere for name in ("yahoo", "binance")}
    # A second attempt at what cannot be reached would only wait.
    waits = "" if vendors else "failover: {max_retries: 0}\n"
    rules.write_text(waits + _RULES.format(fast=_FAST, **urls))
    return DataManager(folder / "cache", rules, clock=clock)


def killed_at(step: int, engine: Engine, work: Callable[[], object]) -> bool:
    """Do some work in a forked process that is killed at a statement or commit; return whether it was.

    Args:
        step: which one, from 1 on; the process ends by itself where there are fewer.
        engine: whose statements are counted.
        work: what is done.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def counted(*_: Any) -> None:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            for name in ("before_cursor_execute", "commit"):
                event.listen(engine, name, counted)
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def imported(database: Database, folder: Path, text: str, name: str = "names.csv") -> ImportReport:
    """Import a text as a file."""
    path = folder / name
    path.write_text(text)
    return import_changes(database, path, str.upper, NOW)


def dump(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the tables of symbols but for their numbers and times of writing, sorted."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    with database.reading() as session:
        for model in (Symbol, CorporateAction, SymbolName):
            names = [c.key for c in model.__mapper__.column_attrs]
            names = [n for n in names if n not in ("id", "updated_at", "created_at", "recorded_at")]
            held = [tuple(getattr(row, n) for n in names) for row in session.scalars(select(model))]
            rows[model.__tablename__] = sorted(held, key=repr)
    return rows
