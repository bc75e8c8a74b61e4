"""Custom downloaders: limits, retries, circuits and counters as for built-in vendors."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.figures import FetchedFigures, Figure, FigureQuery, ServedMeasure
from src.data.core.model.time.instant import HOUR_MS
from src.data.core.observability.events import AttemptFailed, CallFailed, CircuitOpened, Event
from src.data.core.observability.logs import LOGGERS, TextFormatter, attach
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.fmp.bars import FMPDataDownloader
from src.data.data_manager import DataManager, NetworkException
from src.data.errors import (
    AllProvidersFailedError,
    RateLimitedError,
    ResponseFormatError,
    TransientError,
    UnavailableError,
)
from src.data.feed.live_feed import Caller

KEY = "s3cr3t/key+0123456789"


class Duck:
    """Answers by script: an error is raised; when the script is over there are bars."""

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)
        self.calls = 0

    def get_ohlcv(
        self, symbol: str, interval: str, start_date: Any, end_date: Any, **_: Any
    ) -> pd.DataFrame:
        self.calls += 1
        if self.script:
            raise self.script.pop(0)
        hours = pd.date_range(start_date, end_date, freq="h", name="timestamp")
        return pd.DataFrame(
            {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}, index=hours
        )

    def get_fundamentals(self, symbol: str) -> dict[str, Any]:
        self.calls += 1
        if self.script:
            raise self.script.pop(0)
        return {"company_name": "Acme"}

    figures: Any = {"open_interest": ServedMeasure(500, settle_ms=0)}  # noqa: RUF012 - as users write it

    def fetch_figures(self, query: FigureQuery) -> FetchedFigures:
        self.calls += 1
        if self.script:
            raise self.script.pop(0)
        stamps = range(query.span.start, query.span.end, HOUR_MS)
        rows = [Figure(stamp, (1.0, 2.0)) for stamp in stamps]
        return FetchedFigures(rows, query.now_ms, 1)


class Subclassed(Duck, BaseDataDownloader):
    """The same as a subclass."""

    def __init__(self, *script: Exception) -> None:
        BaseDataDownloader.__init__(self)
        Duck.__init__(self, *script)


@pytest.fixture(params=[Duck, Subclassed])
def kind(request: pytest.FixtureRequest) -> type[Duck]:
    """Return the class of the user's downloader: a plain one, or a subclass of the library's."""
    return request.param  # type: ignore[no-any-return]


Bring = Callable[..., Duck]


@pytest.fixture
def bring(manager: DataManager, monkeypatch: pytest.MonkeyPatch, kind: type[Duck]) -> Bring:
    """Return what puts a new downloader under the name ``acme``, as the only one."""

    def put(*script: Exception, into: DataManager = manager) -> Duck:
        selector, made = into.provider_selector, kind(*script)
        monkeypatch.setitem(selector.downloaders, "acme", made)
        monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: ["acme"])
        return made

    return put


def ask(manager: DataManager, day: int = 1) -> pd.DataFrame:
    """Request a day of hours that was not requested before."""
    at = datetime(2024, 5, day)
    return manager.get_ohlcv("BTCUSDT", "1h", at, at + timedelta(hours=23))


def events_of(manager: DataManager) -> list[Event]:
    heard: list[Event] = []
    manager.on_event(heard.append)
    return heard


def test_a_network_error_of_a_custom_downloader_is_retried_with_waits_and_counted(
    manager: DataManager, clock: ManualClock, bring: Bring
) -> None:
    heard, acme = events_of(manager), bring(NetworkException("reset"), NetworkException("reset"))
    assert len(ask(manager)) == 24
    assert acme.calls == 3
    first, second = clock.slept
    assert 0 < first < second
    counted = manager.metrics()["vendors"]["acme"]
    assert counted["outcomes"] == {"TransientError": 2, "ok": 1}
    assert [(e.vendor, e.attempt) for e in heard if isinstance(e, AttemptFailed)] == [
        ("acme", 1), ("acme", 2),
    ]  # fmt: skip


def test_an_unknown_error_of_a_custom_downloader_is_not_retried(
    manager: DataManager, clock: ManualClock, bring: Bring
) -> None:
    acme = bring(RuntimeError("boom"))
    with pytest.raises(AllProvidersFailedError):
        ask(manager)
    assert (acme.calls, clock.slept) == (1, [])
    assert manager.metrics()["vendors"]["acme"]["outcomes"] == {"ForeignError": 1}


def test_a_custom_downloader_is_paused_after_five_failures_until_a_trial_succeeds(
    manager: DataManager, clock: ManualClock, bring: Bring
) -> None:
    heard, acme = events_of(manager), bring(*[RuntimeError("boom")] * 5)
    for day in range(1, 9):
        with pytest.raises(AllProvidersFailedError):
            ask(manager, day)
    assert acme.calls == 5
    (opened,) = [event for event in heard if isinstance(event, CircuitOpened)]
    assert opened.vendor == "acme"
    clock.advance(opened.seconds + 1)
    assert len(ask(manager, 9)) == 24
    assert len(ask(manager, 10)) == 24


def test_unreadable_answers_for_one_symbol_do_not_pause_a_custom_downloader_for_others(
    manager: DataManager, bring: Bring
) -> None:
    bring(*[ResponseFormatError("no bars")] * 4)
    for day in range(1, 5):
        with pytest.raises(AllProvidersFailedError, match="no bars"):
            ask(manager, day)
    assert len(manager.get_ohlcv("ETHUSDT", "1h", "2024-05-01", "2024-05-01")) == 24


def test_a_new_custom_downloader_under_the_same_name_has_its_own_circuit(
    manager: DataManager, bring: Bring
) -> None:
    bring(*[RuntimeError("boom")] * 5)
    for day in range(1, 6):
        with pytest.raises(AllProvidersFailedError):
            ask(manager, day)
    bring()
    assert len(ask(manager, 6)) == 24


def test_limits_for_a_custom_downloader_hold_across_managers(
    make: Callable[[], DataManager], monkeypatch: pytest.MonkeyPatch, bring: Bring
) -> None:
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"acme": {"requests_per_day": 3}}')
    first, second = make(), make()
    before = bring(into=first)
    assert len(ask(first, 1)) == len(ask(first, 2)) == 24
    after = bring(into=second)
    assert len(ask(second, 3)) == 24
    with pytest.raises(AllProvidersFailedError, match="limit of 3 a day is used up"):
        ask(second, 4)
    assert (before.calls, after.calls) == (2, 1)
    assert second.metrics()["vendors"]["acme"]["held_back"] == 1


def test_a_custom_downloader_without_limits_is_never_throttled(
    manager: DataManager, clock: ManualClock, bring: Bring
) -> None:
    acme = bring()
    for day in range(1, 16):
        ask(manager, day)
    assert (acme.calls, clock.slept) == (15, [])


def test_a_rate_limit_error_of_a_custom_downloader_is_waited_for(
    manager: DataManager, clock: ManualClock, bring: Bring
) -> None:
    acme = bring(RateLimitedError("slow down", retry_after=7))
    assert len(ask(manager)) == 24
    assert acme.calls == 2
    assert sum(clock.slept) >= 7
    assert manager.metrics()["vendors"]["acme"]["pauses"] == 1


@pytest.mark.parametrize(
    ("wait", "least_s"),
    [
        ("7", 7),
        ("Wed, 12 Jun 2024", 15),
        ("inf", 15),
        (float("nan"), 15),
        (-7, 15),
        ([7], 15),
    ],
)
def test_a_rate_limit_error_whose_wait_is_a_text_or_unusable_is_waited_for(
    manager: DataManager,
    clock: ManualClock,
    bring: Bring,
    state_dir: Path,
    wait: Any,
    least_s: float,
) -> None:
    acme = bring(RateLimitedError("slow down", retry_after=wait))
    assert len(ask(manager)) == 24
    assert acme.calls == 2
    assert sum(clock.slept) == pytest.approx(least_s, abs=1)
    assert not list(state_dir.glob("*.damaged"))


@pytest.mark.parametrize(
    ("error_type", "wait", "waited_s"),
    [
        (RateLimitedError, "7", 7),
        (RateLimitedError, "soon", 15),
        (UnavailableError, "7", 7),
        (NetworkException, "soon", 1),
    ],
)
def test_a_wait_that_is_set_on_an_error_later_may_be_a_text(
    manager: DataManager,
    clock: ManualClock,
    bring: Bring,
    state_dir: Path,
    error_type: type[TransientError],
    wait: Any,
    waited_s: float,
) -> None:
    error: Any = error_type("slow down")
    error.retry_after = wait
    acme = bring(error)
    assert len(ask(manager)) == 24
    assert acme.calls == 2
    assert sum(clock.slept) == pytest.approx(waited_s, abs=1)
    assert not list(state_dir.glob("*.damaged"))


def test_a_subclass_of_a_vendor_is_limited_as_that_vendor(
    make: Callable[[], DataManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(Duck, FMPDataDownloader):
        def __init__(self) -> None:
            FMPDataDownloader.__init__(self, credentials={"FMP_API_KEY": KEY})
            Duck.__init__(self)

    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"fmp": {"requests_per_day": 1}}')
    manager, mine = make(), Mine()
    selector = manager.provider_selector
    monkeypatch.setitem(selector.downloaders, "fmp", mine)
    monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: ["fmp"])
    assert len(ask(manager)) == 24
    with pytest.raises(AllProvidersFailedError, match="limit of 1 a day"):
        ask(manager, 2)
    assert mine.calls == 1


def test_fundamentals_are_retried_and_counted(manager: DataManager, bring: Bring) -> None:
    acme = bring(NetworkException("reset"))
    found = manager.get_fundamentals("AAPL", providers=["acme"])
    assert acme.calls == 2
    assert found["company_name"] == "Acme"
    assert manager.metrics()["vendors"]["acme"]["outcomes"] == {"TransientError": 1, "ok": 1}


def ask_figures(manager: DataManager, day: int = 1) -> pd.DataFrame:
    at = datetime(2024, 5, day)
    return manager.get_open_interest("BTCUSDT", "1h", at, at + timedelta(hours=23))


def ask_fundamentals(manager: DataManager, day: int = 1) -> dict[str, Any]:
    """Request another company each day; an empty record stands for an error."""
    symbol = f"{'ABCDEFGHIJKLMNOP'[day]}CME"
    found = manager.get_fundamentals(symbol, providers=["acme"])
    if not found:
        raise AllProvidersFailedError("it gave nothing")
    return found


Ask = Callable[..., Any]
BESIDE_BARS = pytest.mark.parametrize(
    "question", [ask_figures, ask_fundamentals], ids=["figures", "fundamentals"]
)


def test_figures_of_a_custom_downloader_are_returned_and_cached(
    manager: DataManager, bring: Bring
) -> None:
    acme = bring()
    frame = ask_figures(manager)
    assert len(frame) == 24
    assert set(frame["sumOpenInterestValue"]) == {2.0}
    assert len(ask_figures(manager)) == 24
    assert acme.calls == 1


@BESIDE_BARS
def test_a_network_error_for_data_other_than_bars_is_retried_with_waits_and_counted(
    manager: DataManager, clock: ManualClock, bring: Bring, question: Ask
) -> None:
    heard, acme = events_of(manager), bring(NetworkException("reset"), NetworkException("reset"))
    assert len(question(manager))
    assert acme.calls == 3
    first, second = clock.slept
    assert 0 < first < second
    counted = manager.metrics()["vendors"]["acme"]
    assert counted["outcomes"] == {"TransientError": 2, "ok": 1}
    assert [(e.vendor, e.attempt) for e in heard if isinstance(e, AttemptFailed)] == [
        ("acme", 1), ("acme", 2),
    ]  # fmt: skip


@BESIDE_BARS
def test_data_other_than_bars_is_paused_after_five_failures_until_a_trial_succeeds(
    manager: DataManager, clock: ManualClock, bring: Bring, question: Ask
) -> None:
    heard, acme = events_of(manager), bring(*[RuntimeError("boom")] * 5)
    for day in range(1, 9):
        with pytest.raises(AllProvidersFailedError):
            question(manager, day)
    assert acme.calls == 5
    (opened,) = [event for event in heard if isinstance(event, CircuitOpened)]
    assert opened.vendor == "acme"
    assert manager.metrics()["calls"]["failed"] == {"AllProvidersFailedError": 8}
    assert len(ask(manager)) == 24, "it is paused for the failed data"
    clock.advance(opened.seconds + 1)
    assert len(question(manager, 9))


@BESIDE_BARS
def test_limits_for_a_custom_downloader_count_figures_and_fundamentals(
    make: Callable[[], DataManager], monkeypatch: pytest.MonkeyPatch, bring: Bring, question: Ask
) -> None:
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"acme": {"requests_per_day": 3}}')
    first, second = make(), make()
    before = bring(into=first)
    assert len(question(first, 1)) == len(question(first, 2)) > 0
    after = bring(into=second)
    assert len(question(second, 3))
    with pytest.raises(AllProvidersFailedError):
        question(second, 4)
    assert (before.calls, after.calls) == (2, 1)
    counted = second.metrics()["vendors"]["acme"]
    assert (counted["held_back"], counted["requests"]) == (1, 1)


@BESIDE_BARS
def test_unreadable_figures_of_a_custom_downloader_are_not_a_success(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, bring: Bring, question: Ask
) -> None:
    acme = bring()
    for method in ("fetch_figures", "get_fundamentals"):
        monkeypatch.setattr(acme, method, lambda _: [1, 2])
    with pytest.raises(AllProvidersFailedError):
        question(manager)
    assert manager.metrics()["vendors"]["acme"]["outcomes"] == {"ResponseFormatError": 1}


def test_figures_that_are_not_numbers_are_refused(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, bring: Bring
) -> None:
    acme = bring()
    bad = Figure(0, (float("nan"), 1.0))
    monkeypatch.setattr(acme, "fetch_figures", lambda q: FetchedFigures([bad], q.now_ms, 1))
    with pytest.raises(AllProvidersFailedError, match="not numbers"):
        ask_figures(manager)
    monkeypatch.setattr(acme, "fetch_figures", lambda _: [bad])
    with pytest.raises(AllProvidersFailedError, match="returned a list, not FetchedFigures"):
        ask_figures(manager)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return everything logged, by a handler without masking."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield stream
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.parametrize("error", [RuntimeError, NetworkException], ids=lambda e: e.__name__)
@pytest.mark.parametrize("quoted", [KEY, "s3cr3t%2Fkey%2B0123456789", f"x{'.' * 185}{KEY}"])
def test_a_key_in_an_error_of_a_custom_downloader_is_masked(
    manager: DataManager, bring: Bring, monkeypatch: pytest.MonkeyPatch, log: io.StringIO,
    error: type[Exception], quoted: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("FMP_API_KEY", KEY)
    heard = events_of(manager)
    bring(*[error(f"401 for api key {quoted} at home")] * 3)
    with pytest.raises(AllProvidersFailedError) as caught:
        ask(manager)
    (failed,) = [event for event in heard if isinstance(event, CallFailed)]
    shown = [str(caught.value), json.dumps(failed.to_json()), log.getvalue()]
    shown += [attempt.message for attempt in caught.value.attempts]
    shown.append(TextFormatter(dict).format(logging.makeLogRecord({"msg": str(caught.value)})))
    for text in shown:
        assert "401 for api key" in text
        assert "s3cr3t" not in text


def own_variable(make: MakeWith, monkeypatch: pytest.MonkeyPatch) -> DataManager:
    """Name the key's variable in the rules, before any request with it."""
    monkeypatch.setenv("MY_OWN_NAME", KEY)
    return make("fmp: {api_key_env: MY_OWN_NAME}")


def own_secret(make: MakeWith, monkeypatch: pytest.MonkeyPatch) -> DataManager:
    monkeypatch.setenv("MY_OTHER_NAME", KEY)
    return make("alpaca: {secret_key_env: MY_OTHER_NAME}")


def replaced(make: MakeWith, monkeypatch: pytest.MonkeyPatch) -> DataManager:
    """Replace the key after it was in use."""
    monkeypatch.setenv("MY_OWN_NAME", KEY)
    manager = make("fmp: {api_key_env: MY_OWN_NAME}")
    assert "fmp" in manager.provider_selector.get_provider_with_failover("AAPL", "5m")
    monkeypatch.setenv("MY_OWN_NAME", "another-key")
    return manager


def by_hand(make: MakeWith, monkeypatch: pytest.MonkeyPatch) -> DataManager:
    """Give the key to a downloader that the program builds itself."""
    manager = make("yahoo: {}")
    made = FMPDataDownloader(credentials={"FMP_API_KEY": KEY})
    monkeypatch.setitem(manager.provider_selector.downloaders, "fmp", made)
    assert made.secret("FMP_API_KEY") == KEY
    return manager


MakeWith = Callable[[str], DataManager]


@pytest.mark.parametrize("named", [own_variable, own_secret, replaced, by_hand])
@pytest.mark.parametrize("question", [ask, ask_figures, ask_fundamentals])
def test_a_key_from_any_variable_is_masked_in_an_error_of_a_custom_downloader(
    tmp_path: Path, clock: ManualClock, bring: Bring, monkeypatch: pytest.MonkeyPatch,
    log: io.StringIO, named: Callable[[MakeWith, pytest.MonkeyPatch], DataManager], question: Ask,
) -> None:  # fmt: skip
    def make(providers: str) -> DataManager:
        path = tmp_path / "named.yaml"
        path.write_text(f"providers:\n  {providers}\n")
        return DataManager(tmp_path / "other", path, clock=clock)

    manager = named(make, monkeypatch)
    heard = events_of(manager)
    bring(RuntimeError(f"401 for api key {KEY} at home"), into=manager)
    with pytest.raises(AllProvidersFailedError) as caught:
        question(manager)
    reported = json.dumps([event.to_json() for event in heard])
    if question is not ask_fundamentals:  # whose error is the test's own
        assert "401 for api key ***" in str(caught.value)
    assert "401 for api key ***" in reported
    assert "401 for api key ***" in log.getvalue()
    assert "s3cr3t" not in str(caught.value) + reported + log.getvalue()
    stream = io.StringIO()
    attach(handler := logging.StreamHandler(stream), "json", "warning")
    logging.getLogger("onetape.own").warning("for %s", KEY)
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(handler)
    assert json.loads(stream.getvalue())["message"] == "for ***"


def test_the_traceback_of_a_callback_has_no_key(
    monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    monkeypatch.setenv("FMP_API_KEY", KEY)

    def raising(_: object) -> None:
        raise OSError(f"401 for api key {KEY}")

    Caller(raising, "it").call(None)
    assert log.getvalue().count("401 for api key ***") == 2
    assert "Traceback" in log.getvalue()
    assert "s3cr3t" not in log.getvalue()
