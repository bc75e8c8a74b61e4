"""A key that is replaced counts from the next question on; what is under way keeps its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.session import Keys
from src.data.errors import (
    AuthenticationError,
    CircuitOpenError,
    MissingCredentialsError,
    RateLimitedError,
)
from tests.core.net.scripted import NO_LIMITS, NOW_MS, answer
from tests.core.vendors.acme import AcmeDataDownloader, query

START = parse_iso("2024-12-20")
DAYS = query("1d", START, START + 3 * DAY_MS)


class Keyed(AcmeDataDownloader):
    """Sends its key with every page."""

    name = "keyed"
    display_name = "Keyed"
    secrets = (("KEYED_API_KEY", "KEYED_KEY"), "KEYED_SECRET")
    requires_api_key = True

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        keys = {name: self.secret(name) for name in ("KEYED_API_KEY", "KEYED_SECRET")}
        params = {"page": cursor} if cursor else {}
        return HttpRequest(f"{self.base_url}/bars", params=params, secret_headers=keys)


class Vendor:
    """Refuses keys that it does not accept; answers two pages to the others."""

    def __init__(self) -> None:
        self.accepted = {"good"}
        self.seen: list[str] = []
        self.between: Callable[[], object] = bool

    def send(self, request: HttpRequest) -> HttpResponse:
        key = request.secret_headers["KEYED_API_KEY"]
        self.seen.append(key)
        if key not in self.accepted:
            return answer({}, 401)
        page = 1 if "page" in request.params else 0
        rows = [[START + page * DAY_MS, 1.0, 1.0, 1.0, 1.0, 1.0]]
        if page == 0:
            self.between()
        return answer({"rows": rows, "cursor": None if page else "second"})


@pytest.fixture
def environ() -> dict[str, str]:
    """Return credentials with a key that ``vendor`` accepts; a test may replace it."""
    return {"KEYED_API_KEY": "good", "KEYED_SECRET": "s"}


@pytest.fixture
def vendor() -> Vendor:
    """Return a vendor that accepts only the key ``good`` and answers in two pages."""
    return Vendor()


@pytest.fixture
def make(tmp_path: Path, environ: dict[str, str], vendor: Vendor) -> Callable[..., Keyed]:
    """Return a maker of downloaders with ``environ`` that query ``vendor``, at 2025-01-01 UTC."""
    clock = ManualClock(NOW_MS)

    def downloader(limits: Limits = NO_LIMITS) -> Keyed:
        limiter = Limiter("keyed", limits, State(tmp_path, clock))
        return Keyed(credentials=environ, sender=Sender(vendor, limiter, clock))

    return downloader


def test_a_refused_key_locks_its_account_and_a_new_one_works_at_once(
    make: Callable[..., Keyed], environ: dict[str, str], vendor: Vendor
) -> None:
    downloader = make()
    environ["KEYED_API_KEY"] = "wrong"
    with pytest.raises(AuthenticationError):
        downloader.fetch(DAYS)
    with pytest.raises(CircuitOpenError):
        downloader.fetch(DAYS)
    assert vendor.seen == ["wrong"]
    environ["KEYED_API_KEY"] = "good"
    assert len(downloader.fetch(DAYS).table) == 2
    environ["KEYED_API_KEY"] = "wrong"
    with pytest.raises(CircuitOpenError):
        downloader.fetch(DAYS)


def test_each_account_has_its_own_limits(
    make: Callable[..., Keyed], environ: dict[str, str], vendor: Vendor
) -> None:
    vendor.accepted = {"good", "better"}
    downloader = make(Limits(per_day=2))
    downloader.fetch(DAYS)
    with pytest.raises(RateLimitedError):
        downloader.fetch(DAYS)
    environ["KEYED_API_KEY"] = "better"
    downloader.fetch(DAYS)
    assert vendor.seen == ["good"] * 2 + ["better"] * 2


def test_all_pages_of_a_request_use_one_key(
    make: Callable[..., Keyed], environ: dict[str, str], vendor: Vendor
) -> None:
    vendor.between = lambda: environ.update(KEYED_API_KEY="next")
    downloader = make()
    downloader.fetch(DAYS)
    assert vendor.seen == ["good", "good"]
    assert downloader.secret("KEYED_API_KEY") == "next"


def test_another_thread_uses_the_new_key_during_a_running_request(
    make: Callable[..., Keyed], environ: dict[str, str], vendor: Vendor
) -> None:
    downloader, vendor.accepted = make(), {"good", "next"}
    first, second = threading.Event(), threading.Event()

    def wait() -> None:
        first.set()
        assert second.wait(60)

    vendor.between = wait
    slow = threading.Thread(target=downloader.fetch, args=(DAYS,))
    slow.start()
    assert first.wait(60)
    vendor.between = bool
    environ["KEYED_API_KEY"] = "next"
    downloader.fetch(DAYS)
    second.set()
    slow.join()
    assert vendor.seen == ["good", "next", "next", "good"]


@pytest.mark.parametrize("gone", ["KEYED_API_KEY", "KEYED_SECRET"])
def test_a_removed_key_is_an_error_before_any_request(
    make: Callable[..., Keyed], environ: dict[str, str], vendor: Vendor, gone: str
) -> None:
    downloader = make()
    assert downloader.lacking == ()
    held = environ.pop(gone)
    assert gone in downloader.lacking
    with pytest.raises(MissingCredentialsError, match=f"Keyed needs a key .set {gone}"):
        downloader.fetch(DAYS)
    assert vendor.seen == []
    environ[gone] = held
    downloader.fetch(DAYS)


def test_a_key_under_another_variable_name_is_used(
    make: Callable[..., Keyed], environ: dict[str, str], vendor: Vendor
) -> None:
    downloader = make()
    environ["KEYED_KEY"] = "good"
    del environ["KEYED_API_KEY"]
    downloader.fetch(DAYS)
    assert vendor.seen == ["good", "good"]


def test_keys_are_read_from_the_environment_if_none_are_passed(
    monkeypatch: pytest.MonkeyPatch, vendor: Vendor
) -> None:
    monkeypatch.setenv("KEYED_KEY", "first")
    monkeypatch.setenv("KEYED_SECRET", "s")
    sender = Sender(vendor, Limiter("k", Limits(), State(Path(), ManualClock(0))), ManualClock(0))
    downloader = Keyed(sender=sender)
    assert downloader.secret("KEYED_API_KEY") == "first"
    monkeypatch.setenv("KEYED_KEY", "second")
    assert downloader.secret("KEYED_API_KEY") == "second"


def test_the_same_keys_keep_the_same_sender(make: Callable[..., Keyed]) -> None:
    downloader = make()
    assert downloader.session is downloader.session


def test_no_text_form_shows_a_key(make: Callable[..., Keyed]) -> None:
    badge = make().session
    for text in (repr(badge), str(badge), f"{badge.keys}", repr([badge.keys]), f"{vars(badge)}"):
        assert "good" not in text
    assert repr(Keys(a="x")) == "Keys(a)"
