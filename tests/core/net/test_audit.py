"""The audit log: every use of a key leaves a record, which does not contain the key."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.errors import DataError, RateLimitedError, UnavailableError
from tests.core.net.scripted import (
    NO_LIMITS,
    NOW_MS,
    Answer,
    ScriptedTransport,
    answer,
    sender_over,
)

KEY = "zqCANARY-of-the-audit"
DOCS = Path(__file__).resolve().parents[3] / "docs" / "keys.md"
URL = "https://acme.example/v1/bars"
PLAIN = HttpRequest(URL, params={"symbol": "AAPL"})
KEYED = HttpRequest(URL, params={"symbol": "AAPL"}, secret_headers={"X-Key": KEY})
Make = Callable[..., Sender]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a maker of senders for one account each."""
    clock = ManualClock(NOW_MS)

    def over(*answers: Answer, key: str = KEY, limits: Limits = NO_LIMITS) -> Sender:
        limiter = Limiter("acme", limits, State(tmp_path, clock))
        sender = Sender(ScriptedTransport(*answers), limiter, clock, RetryPolicy(attempts=2))
        return sender.variant(None, {"ACME_API_KEY": key})

    return over


Uses = Callable[[], list[logging.LogRecord]]


@pytest.fixture
def uses(caplog: pytest.LogCaptureFixture) -> Uses:
    """Turn the log of uses on and return what reads it."""
    caplog.set_level(logging.INFO, "onetape.audit")
    return lambda: [record for record in caplog.records if record.name == "onetape.audit"]


def test_the_audit_log_names_vendor_address_account_and_outcome(make: Make, uses: Uses) -> None:
    make(answer([1])).send(KEYED, vendor="acme")
    (record,) = uses()
    assert record.levelno == logging.INFO
    account = record.__dict__["account"]
    assert len(account) == 8
    assert record.getMessage() == (
        f"acme account {account}: GET acme.example/v1/bars, attempt 1: ok (HTTP 200)"
    )
    assert record.__dict__["vendor"] == "acme"
    assert record.__dict__["outcome"] == "ok"
    assert KEY not in f"{record.__dict__}"
    assert "AAPL" not in f"{record.__dict__}", "no query"


def test_every_attempt_leaves_an_audit_record(make: Make, uses: Uses) -> None:
    sender = make(answer(status=503), UnavailableError("no connection"))
    with pytest.raises(UnavailableError):
        sender.send(KEYED, vendor="acme")
    reported = [
        (r.__dict__["attempt"], r.__dict__["outcome"], r.__dict__["status"]) for r in uses()
    ]
    assert reported == [(1, "UnavailableError", 503), (2, "UnavailableError", 0)]


def test_a_request_without_a_key_leaves_no_audit_record(make: Make, uses: Uses) -> None:
    make(answer([1])).send(PLAIN, vendor="acme")
    assert uses() == []


def test_a_request_refused_by_the_rate_limit_leaves_no_audit_record(make: Make, uses: Uses) -> None:
    sender = make(answer([1]), limits=Limits(per_day=1))
    sender.send(KEYED, vendor="acme")
    with pytest.raises(RateLimitedError):
        sender.send(KEYED, vendor="acme")
    assert len(uses()) == 1


def test_an_account_has_the_same_name_in_all_audit_records(make: Make, uses: Uses) -> None:
    for key in (KEY, "another key", KEY):
        make(answer([1]), key=key).send(KEYED, vendor="acme")
    first, other, again = (record.__dict__["account"] for record in uses())
    assert first == again != other


def test_the_audit_log_is_off_until_a_handler_listens(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(Limiter, "account", lambda _: pytest.fail("looked up for nobody"))
    make(answer([1])).send(KEYED, vendor="acme")
    assert not [r for r in caplog.records if r.name == "onetape.audit"]


def test_accounts_have_no_name_without_a_state_folder(uses: Uses) -> None:
    sender_over(ScriptedTransport(answer([1]))).send(KEYED, vendor="acme")
    (record,) = uses()
    assert record.__dict__["account"] == "-"


def test_a_key_in_the_query_leaves_an_audit_record(make: Make, uses: Uses) -> None:
    with pytest.raises(DataError):
        make(answer(status=401)).send(HttpRequest(URL, secret_params={"k": KEY}), vendor="acme")
    (record,) = uses()
    assert record.__dict__["outcome"] == "AuthenticationError"
    assert KEY not in f"{record.__dict__}"


def test_the_audit_log_is_written_to_a_file_as_documented(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    audit = logging.getLogger("onetape.audit")
    before = (audit.level, audit.propagate, list(audit.handlers))
    monkeypatch.chdir(tmp_path)
    try:
        exec(code, {})
        make(answer(status=401), answer([1])).send(PLAIN, vendor="acme", classify=lambda _: None)
        make(answer([1])).send(KEYED, vendor="acme")
    finally:
        for handler in set(audit.handlers) - set(before[2]):
            audit.removeHandler(handler)
            handler.close()
        audit.setLevel(before[0])
        audit.propagate = before[1]
    (line,) = (tmp_path / "onetape-audit.log").read_text().splitlines()
    documented = DOCS.read_text(encoding="utf-8").splitlines()
    shape = r"[-\d]+ [\d:,]+ \w+ account [0-9a-f]{8}: GET \S+, attempt \d: \w+ \(HTTP \d+\)"
    assert re.fullmatch(shape, line)
    assert len([reported for reported in documented if re.fullmatch(shape, reported)]) == 2
