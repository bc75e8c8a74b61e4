"""Units of work: all or nothing, on both engines."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import select

from src.data.db.core.database import Database, locked
from src.data.db.symbols.models import Symbol
from src.data.errors import DatabaseError

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_what_a_unit_writes_the_next_one_reads(database: Database) -> None:
    with database.writing() as session:
        session.add(Symbol(symbol="AAPL", updated_at=NOW, volatility_30d=Decimal("0.1")))
    with database.reading() as session:
        row = session.scalars(select(Symbol)).one()
    assert (row.symbol, row.updated_at, row.volatility_30d) == ("AAPL", NOW, Decimal("0.1"))


def test_a_unit_that_fails_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.writing() as session:
            session.add(Symbol(symbol="AAPL", updated_at=NOW))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.reading() as session:
        assert session.scalars(select(Symbol)).all() == []


def test_a_reading_unit_cannot_write(database: Database) -> None:
    def write() -> None:
        with database.reading() as session:
            session.add(Symbol(symbol="AAPL", updated_at=NOW))
            session.flush()

    with pytest.raises(DatabaseError):
        write()
    with database.writing() as session:
        assert session.scalars(select(Symbol)).all() == []
        session.add(Symbol(symbol="AAPL", updated_at=NOW))


def test_a_locked_row_is_read_anew(database: Database) -> None:
    with database.writing() as session:
        session.add(Symbol(symbol="AAPL", updated_at=NOW))
    with database.writing() as session:
        row = session.get_one(Symbol, "AAPL")
        assert locked(session, select(Symbol).where(Symbol.symbol == "AAPL")).one() is row
