"""Fixtures for tests of several hosts: a PostgreSQL server with an empty log."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest

from src.data.core.hosts.postgres import PostgresFiles
from tests.core.hosts.own_server import OwnServer, own_server
from tests.core.net.authority import Authority
from tests.db.server import server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that has signed the certificate of the tests' own server."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def _own(authority: Authority) -> Iterator[OwnServer | None]:
    """Yield the tests' own server; None if another one is named, which they may not stop."""
    if "TEST_DB_URL" in os.environ:
        yield None
        return
    with own_server(authority) as made:
        yield made


@pytest.fixture(scope="session")
def postgresql(_own: OwnServer | None) -> Iterator[str]:
    """Yield the URL of a server's own database; tests make databases next to it."""
    if _own is not None:
        yield _own.url
        return
    with server() as url:
        yield url


@pytest.fixture
def own(_own: OwnServer | None, log_url: str) -> Iterator[OwnServer]:
    """Yield the server itself; it runs again after the test."""
    if _own is None:
        pytest.skip("stops, kills and copies the tests' own server")
    yield _own
    _own.reset()
    _own.start()


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
def shared(log_url: str) -> Iterator[PostgresFiles]:
    """Yield an empty store."""
    made = PostgresFiles(log_url)
    yield made
    made.close()
