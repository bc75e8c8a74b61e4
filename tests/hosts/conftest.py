"""A PostgreSQL server for the tests of many hosts, and an empty log on it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest

from src.data.hosts.log import Log
from tests.db.server import server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Yield the URL of a server's own database; tests make databases next to it."""
    with server() as url:
        yield url


@pytest.fixture(scope="session")
def _kept(postgresql: str) -> Iterator[str]:
    """Yield a database that tests empty and share, because making one takes a tenth of a second."""
    name = f"hosts_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgresql, autocommit=True) as db:
        db.execute(f"create database {name}")
    url = postgresql.replace("/postgres?", f"/{name}?")
    yield url
    with psycopg.connect(postgresql, autocommit=True) as db:
        db.execute(f"drop database {name} with (force)")


@pytest.fixture
def log_url(_kept: str) -> str:
    """Return the URL of a database without tables."""
    with psycopg.connect(_kept, autocommit=True) as db:
        db.execute("drop schema if exists onetape cascade")
    return _kept


@pytest.fixture
def log(log_url: str) -> Iterator[Log]:
    """Yield an empty log."""
    made = Log(log_url)
    yield made
    made.close()
