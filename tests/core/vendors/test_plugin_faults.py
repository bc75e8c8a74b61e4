"""A fault in the code of another package is that vendor's failure: the next one is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import BarPage, Capabilities, Fetched, FetchQuery
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS
from src.data.core.vendors.base import BaseDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, UnknownProviderError
from tests.core.net.scripted import reply, serving
from tests.core.vendors.packages import PackageFolder, package_folder

DAYS = ("2024-01-01", "2024-01-04")
RULES = """
crypto: {primary: bad, backup: [good]}
providers: {bad: {base_url: %s}}
"""


class Good(BaseDataDownloader):
    """Answers every day by itself."""

    name = "good"
    capabilities = Capabilities(
        frozenset({"crypto"}),
        {"1d": "1d"},
        kinds={"crypto": Kind("24h", "clock", "here", volume="base")},
    )

    def fetch(self, query: FetchQuery) -> Fetched:
        days = range(-(-query.span.start // DAY_MS) * DAY_MS, query.span.end, DAY_MS)
        bars = [Bar(at, 10.0, 12.0, 9.0, 11.0, 5.0) for at in days]
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        return Fetched(BarTable.from_bars(bars), self.name, kind, Basis("raw"), query.now_ms)


class Bad(Good):
    """Asks and reads as every vendor; what fails is put into it."""

    name = "bad"
    fetch = BaseDataDownloader.fetch

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        return HttpRequest(f"{self.base_url}/bars")

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        return BarPage([Bar(query.span.start, 1.0, 1.0, 1.0, 1.0, 1.0)])


class Over:
    """Holds who waits for it until the test has ended."""

    def __init__(self) -> None:
        self.event = threading.Event()


OVER = Over()


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def endless() -> Any:  # without *args: Python 3.13.0 does not limit the depth of calls with them
    return endless()


def hang(*_: object) -> Any:
    OVER.event.wait(30)
    raise KeyError("let go")


FAULTS: dict[str, Callable[..., Any]] = {
    "KeyError": raising(KeyError("k")),
    "RecursionError": endless,
    "SystemExit": raising(SystemExit(3)),
    "GeneratorExit": raising(GeneratorExit()),
    "NoneType": lambda *_: None,
}
HEAD = f"from {__name__} import FAULTS, Bad, Good, hang\n"
METHODS = ("fetch", "bars_request", "parse_bars", "classify", "spelled", "is_dense")
# None from the others is an answer: no error, and no bars without trades.
CASES = [
    *((method, fault) for method in METHODS for fault in FAULTS if fault != "NoneType"),
    *((method, "NoneType") for method in METHODS[:3]),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageFolder]:
    """Yield a folder for packages on ``sys.path``; release hanging calls after the test."""
    folder = tmp_path / "site"
    folder.mkdir()
    OVER.event = threading.Event()
    with package_folder(folder, monkeypatch) as made:
        yield made
    OVER.event.set()


@pytest.fixture
def make(site: PackageFolder, tmp_path: Path) -> Iterator[Callable[[str], DataManager]]:
    """Yield a maker of managers: vendor ``bad`` runs the given code, its backup ``good`` works."""
    with serving(lambda handler: reply(handler, b"{}")) as server:

        def made(code: str) -> DataManager:
            site.put("bad_one", HEAD + code, {"bad": "bad_one:Bad"})
            site.put("good_one", HEAD, {"good": "good_one:Good"})
            rules = tmp_path / "rules.yaml"
            rules.write_text(RULES % server.base)
            return DataManager(tmp_path / "cache", rules)

        yield made


@pytest.mark.parametrize(("method", "fault"), CASES)
def test_a_fault_of_a_plugin_counts_as_a_failure_of_its_vendor(
    method: str, fault: str, make: Callable[[str], DataManager]
) -> None:
    manager = make(f"class Bad(Bad):\n    {method} = lambda *_: FAULTS[{fault!r}]()")
    frame = manager.get_ohlcv("BTCUSDT", "1d", *DAYS)
    assert frame.attrs["onetape"]["vendors"] == ["good"]
    assert len(frame) == 4
    reported = str(frame.attrs["onetape"])
    assert fault in reported or "AttributeError" in reported, reported


@pytest.mark.parametrize("method", ["fetch", "bars_request", "parse_bars", "classify"])
def test_a_hanging_plugin_ends_within_the_timeout_of_the_call(
    method: str, make: Callable[[str], DataManager]
) -> None:
    manager = make(f"class Bad(Bad):\n    {method} = lambda *_: hang()")
    begun = time.monotonic()
    frame = manager.get_ohlcv("BTCUSDT", "1d", *DAYS, timeout=0.6)
    assert time.monotonic() - begun < 20
    assert frame.attrs["onetape"]["vendors"] == ["good"]


def test_a_fault_of_the_only_vendor_plugin_is_the_error_of_the_call(
    make: Callable[[str], DataManager],
) -> None:
    manager = make("class Bad(Bad):\n    parse_bars = lambda *_: FAULTS['SystemExit']()")
    with pytest.raises(AllProvidersFailedError, match="bad raised SystemExit: 3"):
        manager.get_ohlcv("BTCUSDT", "1d", *DAYS, provider="bad")


# --- at import, told by the commands --------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise KeyError('k')", "raised KeyError"),
        ("def deep(): deep()\ndeep()", "raised RecursionError"),
        ("import sys\nsys.exit(3)", "raised SystemExit"),
        ("class Bad(Bad):\n    capabilities = {}", "its `capabilities` are a dict"),
        ("class Bad(Bad):\n    __init__ = FAULTS['SystemExit']", "raised SystemExit: 3"),
    ],
)
def test_a_plugin_that_fails_to_import_is_reported_and_affects_no_other(
    code: str,
    said: str,
    make: Callable[[str], DataManager],
    site: PackageFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manager = make(code)
    frame = manager.get_ohlcv("BTCUSDT", "1d", *DAYS)
    assert frame.attrs["onetape"]["vendors"] == ["good"]
    for command in (["providers", "bad"], ["providers"], ["doctor", "--no-network"]):
        main([*command, "--config", str(tmp_path / "rules.yaml")])
        reported = " ".join("".join(capsys.readouterr()).split())
        assert said in reported, (command, reported)


def test_a_hanging_import_leaves_time_for_the_next_vendor(
    make: Callable[[str], DataManager], site: PackageFolder
) -> None:
    manager = make("hang()")
    begun = time.monotonic()
    frame = manager.get_ohlcv("BTCUSDT", "1d", *DAYS, timeout=0.6)
    assert time.monotonic() - begun < 20
    assert frame.attrs["onetape"]["vendors"] == ["good"]


def test_a_hanging_constructor_leaves_time_for_the_next_vendor(
    make: Callable[[str], DataManager], site: PackageFolder
) -> None:
    manager = make("class Bad(Bad):\n    def __init__(self, **wired):\n        hang()")
    begun = time.monotonic()
    frame = manager.get_ohlcv("BTCUSDT", "1d", *DAYS, timeout=0.6)
    assert time.monotonic() - begun < 20
    assert frame.attrs["onetape"]["vendors"] == ["good"]


CONSTRUCTORS = {
    "another vendor's name": ("self.name = 'binance'", "its `name` is 'binance', not 'bad'"),
    "a list as its name": ("self.name = ['bad']", "its `name` is"),
    "no capabilities": ("self.capabilities = None", "`capabilities` are a NoneType"),
    "a text as a page": (
        "self.capabilities = replace(self.capabilities, page_bars='100')",
        "`capabilities` have page_bars of another type or size: '100'",
    ),
    "nothing": ("del self._accounts", "did not call BaseDataDownloader.__init__"),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_constructor_that_returns_another_type_is_a_failure(
    name: str, make: Callable[[str], DataManager]
) -> None:
    code, said = CONSTRUCTORS[name]
    manager = make(
        "from dataclasses import replace\nclass Bad(Bad):\n    def __init__(self, **wired):\n"
        f"        super().__init__(**wired)\n        {code}"
    )
    frame = manager.get_ohlcv("BTCUSDT", "1d", *DAYS)
    assert frame.attrs["onetape"]["vendors"] == ["good"]
    with pytest.raises(UnknownProviderError, match=said):
        manager.get_ohlcv("BTCUSDT", "1d", *DAYS, provider="bad")


def test_a_class_whose_new_returns_another_object_is_a_failure(
    make: Callable[[str], DataManager],
) -> None:
    manager = make("class Bad(Bad):\n    def __new__(cls, **wired):\n        return 'a text'")
    assert manager.get_ohlcv("BTCUSDT", "1d", *DAYS).attrs["onetape"]["vendors"] == ["good"]
    with pytest.raises(UnknownProviderError, match="it returned a str"):
        manager.get_ohlcv("BTCUSDT", "1d", *DAYS, provider="bad")


def test_a_vendor_that_renames_itself_is_never_taken_for_another(
    make: Callable[[str], DataManager],
) -> None:
    manager = make(
        "class Bad(Bad):\n    def fetch(self, query):\n        self.name = 'binance'\n"
        "        return Good.fetch(self, query)"
    )
    for last in ("2024-01-04", "2024-01-06"):
        frame = manager.get_ohlcv("BTCUSDT", "1d", "2024-01-01", last)
        assert frame.attrs["onetape"]["vendors"] == ["good"]
        assert "bars from another vendor: 'binance'" in str(frame.attrs["onetape"]["attempts"])


WRONG = {
    "lists": "replace(good, table=replace(good.table, close=[1.0]))",
    "another vendor's name": "replace(good, vendor='binance')",
    "an object as kind": "replace(good, kind=object())",
    "a unit as a list": "replace(good, kind=replace(good.kind, unit=['USD']))",
    "a naive date": "replace(good, basis=replace(good.basis, as_of=datetime(2024, 1, 1)))",
    "masked prices": "replace(good, table=replace(good.table, close=np.ma.masked_all(4)))",
    "a split of nothing": "replace(good, actions=(Action(date(2024, 1, 2), 'split', 0, 0.0),))",
    "a dividend of NaN": "replace(good, actions=[Action(date(2024, 1, 2), 'dividend', 0, amount=NAN)])",
    "the year 9999": "replace(good, server_now_ms=253402300799999)",
    "an empty object": "object.__new__(Fetched)",
    "a time as a text": "replace(good, server_now_ms='now')",
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_of_wrong_types_counts_as_a_failure_of_the_vendor(
    name: str, make: Callable[[str], DataManager]
) -> None:
    manager = make(
        "import numpy as np\nfrom dataclasses import replace\n"
        "from datetime import date, datetime\n"
        "from src.data.core.model.market.actions import Action\nNAN = float('nan')\n"
        "from src.data.core.model.request.capabilities import Fetched\n"
        "class Bad(Bad):\n    def fetch(self, query):\n"
        f"        good = Good.fetch(self, query)\n        return {WRONG[name]}"
    )
    frame = manager.get_ohlcv("BTCUSDT", "1d", *DAYS)
    assert frame.attrs["onetape"]["vendors"] == ["good"]
    assert "bad returned" in str(frame.attrs["onetape"]["attempts"])
    with pytest.raises(AllProvidersFailedError, match="returned"):
        manager.get_ohlcv("BTCUSDT", "1d", *DAYS, provider="bad")
