"""Hosts behind a pooler in transaction mode, which gives each transaction to another connection."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.data.core import hosts
from src.data.core.cache.store import BarStore
from src.data.core.cache.values import Commit
from src.data.core.clock import ManualClock
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.leases import SharedLeases
from src.data.core.hosts.limits import SharedLimits
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.state import host_state
from src.data.core.model.request.capabilities import Limits
from src.data.core.net.calls.deadline import Deadline
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.errors import CircuitOpenError, RateLimitedError, UnavailableError
from tests.core.cache.bars import DAILY, EVER, NOW, numbers
from tests.core.cache.bars import piece as piece_of
from tests.core.hosts.pooler import CONNECTIONS, pooler

pytestmark = pytest.mark.skipif(
    "TEST_DB_URL" in os.environ, reason="the pooler connects to the socket of the tests' own server"
)


@pytest.fixture
def pooled(log_url: str) -> Iterator[str]:
    """Yield the URL of a transaction-mode pooler in front of the server."""
    with pooler(log_url) as made:
        yield made


def commit(store: BarStore, first: int) -> None:
    store.commit(DAILY, Commit((piece_of(first, first + 2),)))


def test_a_shared_store_works_through_a_pooler_in_transaction_mode(
    pooled: str, tmp_path: Path
) -> None:
    clock = ManualClock(NOW)
    logs = [PostgresFiles(pooled, "a"), PostgresFiles(pooled, "b")]
    a, b = (shared_store(log, tmp_path / n, clock=clock) for log, n in zip(logs, "ab", strict=True))
    for n in range(8):  # more often than a driver needs to prepare a statement
        commit(a, 2 * n)
        b.hosts.pull([(DAILY.symbol, DAILY.timeframe)])
    assert numbers(b.read(DAILY, EVER)[0]) == list(range(16))
    first, second = (SharedLeases(log, clock, lambda: None) for log in logs)
    with first.hold("x", about=DAILY) as lease:
        commit(a, 20)
        assert first.renew(lease, pages=1)
        with second.hold("x", deadline=Deadline(clock, 0), about=DAILY) as other:
            assert lease.is_held and not other.is_held
    with second.hold("x", deadline=Deadline(clock, 0), about=DAILY) as other:
        assert other.is_held
    one, two = (
        Limiter("acme", Limits(per_minute=3), SharedLimits(log, State(tmp_path / f"{n}s", clock)))
        for log, n in zip(logs, "ab", strict=True)
    )
    for _ in range(3):
        with one.guard("bars"):
            one.settle(one.acquire(1, 0), None)
    with pytest.raises(RateLimitedError):
        two.acquire(1, 0)
    for _ in range(5):
        with pytest.raises(UnavailableError), one.guard("bars/1d"):
            raise UnavailableError("HTTP 503")
    with pytest.raises(CircuitOpenError), two.guard("bars/1d"):
        pass
    assert host_state(a.hosts).state == "in step" and host_state(b.hosts).state == "behind"
    assert len(host_state(b.hosts).vendors) == 2
    ask = "select pg_backend_pid()"
    processes = {logs[0].run(lambda db, _: db.execute(ask).fetchone()) for _ in range(6)}
    assert len(processes) == CONNECTIONS
    for log in logs:
        log.close()


def test_no_statement_leaves_state_in_its_database_session() -> None:
    words = re.compile(
        r"\b(unlisten|notify|set_config|pg_(try_)?advisory_lock|declare \w+ cursor|create temp"
        r"|listen \w|set (session|time zone|search_path|synchronous_commit|role))\b"
    )
    sources = list(Path(str(hosts.__file__)).parent.glob("*.py"))
    texts = [
        node.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    statements = [text for text in texts if re.search("onetape[.]|pg_", text)]
    assert len(statements) > 8
    assert [text for text in statements if words.search(text.lower())] == []
