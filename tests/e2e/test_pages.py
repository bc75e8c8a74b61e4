"""Every block of Python in README and docs runs, and prints what is shown below it.

A new page runs without an entry here: its blocks one after another, with a manager whose vendors are the
scripted server. The tables list the pages that need another environment, and the tests that run a page.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import io
import logging
import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import onetape
import onetape.testing
import onetape.yf
import src.data
import src.data.core.model.answer.interchange
import src.data.db.universe
from onetape.public import OF_DATA
from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import StreamState
from src.data.core.model.request.capabilities import Capabilities
from src.data.core.model.time.instant import MINUTE_MS, from_ms
from src.data.core.observability.logs import LOGGERS
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.wiring import MANAGER
from src.data.data_manager import DataManager
from src.data.jobs.doctor.documentation import find_page
from tests.core.fundamentals import test_page as of_fundamentals
from tests.core.vendors import test_adding_a_provider as of_adding
from tests.core.vendors.packages import forget
from tests.feed.conftest import wait_until
from tests.pages import SKILL, Block, pages
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.keyed import KEY
from tests.vendor_server.streams import StreamServer

from .fresh import Fresh

PAGES = pages()
# Run as programs in an empty folder, without any vendor.
PROGRAMS = ("README.md", "asyncio.md")
# Page to the fixture that gives the names among which it runs.
PLACES = {
    "charts.md": "empty_folder",
    "cheat.md": "empty_folder",
    "coming-from-others.md": "empty_folder",
    "compatibility.md": "empty_folder",
    "database.md": "empty_folder",
    "errors.md": "outage",
    "features.md": "own_process",
    "futures.md": "empty_folder",
    "format.md": "year_file",
    "handing-on.md": "own_process",
    "keys.md": "loggers",
    "live-feeds.md": "streams",
    "observability.md": "observed",
    "own-files.md": "empty_folder",
    "sources.md": "empty_folder",
    "reports.md": "empty_folder",
    "symbols.md": "empty_folder",
    "validation.md": "two_vendors",
}
# Page to the blocks that a test of another file runs.
ELSEWHERE = {"adding-a-provider.md": of_adding.RUN, "fundamentals.md": of_fundamentals.RUN}
# Pages to their sections, with the libraries that each needs; it goes on from the page's first block.
NEEDS = {
    "handing-on.md": {
        "Polars": ["polars"],
        "Arrow and Parquet": ["pyarrow"],
        "DuckDB": ["duckdb", "pyarrow"],
        "vectorbt": ["vectorbt"],
        "backtesting.py": ["backtesting"],
        "mplfinance": ["mplfinance"],
        "Zipline": ["zipline"],
        "NautilusTrader": ["nautilus_trader"],
        "Backtrader": ["backtrader"],
        "Bundles in other tools": ["polars", "duckdb"],
    },
    "features.md": {"": [], "Blocks": [], "Your own recipes": [], "Check your own features": []},
}

# Page to a place in which some of its sections run, without the page's first block.
APART = {
    "features.md": ("installation", ("One date over everything", "Macro series")),
    "adding-a-provider.md": ("recorded", ("11. Recordings",)),
}


class Case(NamedTuple):
    """Blocks that run one after another."""

    name: str
    place: str
    blocks: list[Block]
    needs: list[str]


def cases() -> Iterator[Case]:
    """Yield each page that runs in this process; those that need other libraries by their sections."""
    for page, blocks in PAGES.items():
        if page in NEEDS:
            for section, needs in NEEDS[page].items():
                own = [block for block in blocks[1:] if block.section == section]
                name = f"{page.removesuffix('.md')} {section}".strip()
                yield Case(name, PLACES[page], [blocks[0], *own], ["bokeh_sampledata", *needs])
        elif page not in (*PROGRAMS, *ELSEWHERE):
            yield Case(page, PLACES.get(page, "installation"), blocks, [])
    for page, (place, sections) in APART.items():
        own = [block for block in PAGES[page] if block.section in sections]
        yield Case(f"{page} {sections[0]}", place, own, [])


CASES = {case.name: case for case in cases()}


def test_every_python_block_of_a_page_is_run() -> None:
    run = {block for case in CASES.values() for block in case.blocks}
    run |= {block for page in PROGRAMS for block in PAGES[page]}
    run |= {block for blocks in ELSEWHERE.values() for block in blocks}
    assert [str(block) for blocks in PAGES.values() for block in blocks if block not in run] == []
    assert {*PLACES, *PROGRAMS, *ELSEWHERE} <= set(PAGES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_the_blocks_of_a_page_print_the_output_shown_below_them(
    case: str, request: pytest.FixtureRequest
) -> None:
    for library in CASES[case].needs:
        pytest.importorskip(library, reason=f"{library} is not installed")
    names = request.getfixturevalue(CASES[case].place)
    for block in CASES[case].blocks:
        block.run(names)


def test_the_cheat_sheet_has_thirty_calls_each_with_its_task() -> None:
    """They are run one after another, like the blocks of all pages."""
    (block,) = PAGES["cheat.md"]
    lines = block.code.splitlines()
    assert len(lines) == 30
    for line in lines:
        call, _, task = line.partition("  # ")
        assert len(ast.parse(call).body) == 1
        assert task and len(line) <= 110
    assert find_page("cheat") is not None, "onetape docs cheat"


@pytest.mark.parametrize("page", PROGRAMS)
def test_a_page_runs_as_one_program(page: str, tmp_path: Path, fresh: Fresh) -> None:
    """As a user would paste its blocks, one after another, into a program in an empty folder."""
    blocks = PAGES[page]
    if find_spec("polars") is None:
        blocks = [block for block in blocks if "lineage" not in block.code]
    begin = f"import os, warnings; os.chdir({str(tmp_path)!r})"
    begin += "; warnings.simplefilter('ignore', SyntaxWarning)"
    code = "\n".join(block.code for block in blocks)
    names = ("DATA_CACHE_DIR", "ONETAPE_STATE_DIR", "HOME")
    folders = dict.fromkeys(names, str(tmp_path))
    printed = fresh.run(f"{begin}\nexec({code!r})", to_the_end=True, PATH="", **folders)
    assert printed.split() == "".join(block.printed for block in blocks).split()


# --- examples in docstrings ---------------------------------------------------------------------


def documented() -> Iterator[tuple[str, object]]:
    """Yield the public functions and classes, without errors, and the public methods of the manager."""
    universes = [src.data.db.universe] if find_spec("sqlalchemy") else []
    for home in (onetape, onetape.DataManager, onetape.yf, onetape.testing, *universes):
        for name in OF_DATA if home is onetape else getattr(home, "__all__", dir(home)):
            one = getattr(home, name)
            is_error = inspect.isclass(one) and issubclass(one, Exception)
            is_documented = inspect.isfunction(one) or (inspect.isclass(one) and not is_error)
            if is_documented and not name.startswith("_"):
                yield f"{home.__name__}.{name}", one


DOCUMENTED = dict(documented())


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_docstring_of_a_public_name_begins_with_an_example(name: str) -> None:
    """After its first sentence and before any long text, which few read to the end."""
    parts = (inspect.getdoc(DOCUMENTED[name]) or "").split("\n\n")
    assert parts[1].startswith("Examples:\n    >>> ")


# Their examples run in tests/core/filings, with a local server for the SEC.
WITH_FILINGS = {"DataManager.announcements", "DataManager.statement_lines"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() - WITH_FILINGS))
def test_the_example_of_a_docstring_prints_what_it_shows(
    name: str, manager: DataManager, request: pytest.FixtureRequest
) -> None:
    if "plot" in name:
        pytest.importorskip("matplotlib")
    for library in {"bokeh_sampledata", *re.findall(r"polars|arrow", name)}:
        pytest.importorskip(library.replace("arrow", "pyarrow"))
    for place in ("loggers", "recorded" if "examine" in name else "installation"):
        request.getfixturevalue(place)
    acme = type("Acme", (BaseDataDownloader,), {"name": "acme", "capabilities": Capabilities(
        frozenset({"crypto"}), {"1d": "1d"}), "fetch": lambda *_: None})  # fmt: skip
    names = {each: getattr(onetape, each) for each in OF_DATA}
    names |= {"manager": manager, "AcmeDataDownloader": acme}
    out = io.StringIO()
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert example.examples
    ran = doctest.DocTestRunner(verbose=False).run(example, out=out.write)
    forget()
    assert ran.failed == 0, out.getvalue()


def test_what_is_read_first_is_short() -> None:
    words = len((inspect.getdoc(DataManager.get_ohlcv) or "").split())
    assert words <= 350
    assert len(SKILL.read_text("utf-8").splitlines()) <= 150
    lines = (onetape.__doc__ or "").strip().splitlines()
    assert len(lines) == 10
    for word in ("Bars", "Batch", "Strict", "Offline", "Provenance", "Errors"):
        assert any(line.startswith(f"{word}: ") for line in lines)


# --- places ----------------------------------------------------------------------------------

Names = dict[str, Any]


@pytest.fixture
def installation(
    manager: DataManager, rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Names]:
    """Yield no names; the vendors of the process' manager, and of what the environment sets up, are here."""
    monkeypatch.setenv("ONETAPE_RULES", str(rules))
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FRED_API_KEY", KEY)
    if find_spec("polars") is None:
        monkeypatch.setattr(src.data.core.model.answer.interchange, "to_polars", lambda many: many)
    MANAGER.forget()
    MANAGER.get(lambda: manager)
    yield {}
    MANAGER.forget()


@pytest.fixture
def two_vendors(
    installation: Names, rules: Path, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Names:  # fmt: skip
    """Return no names; a second vendor has days of shares, too."""
    monkeypatch.setenv("FMP_API_KEY", KEY)
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    two = "stock_daily: {primary: yahoo, backup: [fmp]}\n"
    fmp = f"  fmp: {{base_url: '{vendors.base_url('fmp')}'}}\n"
    rules.write_text(two + rules.read_text() + fmp)
    return installation


@pytest.fixture
def empty_folder(installation: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    """Return no names; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    return installation


@pytest.fixture
def outage(installation: Names, vendors: VendorServer) -> Names:
    """Return no names; no vendor can answer."""
    for vendor in ("binance", "yahoo"):
        vendors.fault(vendor, Fault.status(503))
    return installation


@pytest.fixture
def year_file(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Return no names; the working directory is a folder of bars, and the program's argument a file of it."""
    monkeypatch.chdir(Path(__file__).parents[1] / "golden" / "format-1" / "ohlcv" / "AAPL" / "1d")
    monkeypatch.setattr(sys, "argv", ["verify.py", "2024.csv.gz"])
    return {}


@pytest.fixture
def own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """Yield the names of a main module in an empty folder, with a manager of the process."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_CACHE_DIR", "ONETAPE_STATE_DIR", "ZIPLINE_ROOT", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # Classes that the blocks make look for a module of theirs.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules[__name__])
    MANAGER.forget()
    yield {"__name__": "__main__"}
    MANAGER.forget()


@pytest.fixture
def loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """Yield no names, in an empty folder; what is attached to our loggers is taken off again."""
    monkeypatch.chdir(tmp_path)
    ours = [logging.getLogger(name) for name in (*LOGGERS, "onetape.audit")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in ours]
    yield {}
    for logger, (level, propagates, handlers) in zip(ours, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            handler.close()
        logger.setLevel(level)
        logger.propagate, logger.handlers[:] = propagates, handlers


@pytest.fixture
def observed(
    loggers: Names, installation: Names, manager: DataManager, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Names]:  # fmt: skip
    """Yield a manager, and what a program has that logs by itself."""
    pytest.importorskip("prometheus_client")
    from src.data.core.observability import logs, prometheus

    ports: list[int] = []
    monkeypatch.setattr(prometheus, "start_exporter", lambda _, port: ports.append(port))
    handler = logging.NullHandler()
    yield {
        "manager": manager, "handler": handler, "ContextFilter": logs.ContextFilter,
        "JsonFormatter": logs.JsonFormatter,
    }  # fmt: skip
    assert ports == [9464]
    assert isinstance(handler.formatter, logs.JsonFormatter)
    with pytest.raises(ValueError, match="futures"):
        manager.get_funding_rate("AAPL")
    assert "'event': 'CallFailed'" in capsys.readouterr().out, "its listener was called"


@pytest.fixture
def recorded(
    make: Callable[[], DataManager],
    installation: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Names:
    """Return the folder of a test in which the page's command has recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONETAPE_RECORD", "tests/recordings")
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-07")
    monkeypatch.delenv("ONETAPE_RECORD")
    return {"tmp_path": tmp_path}


@pytest.fixture
def streams(
    rules: Path,
    tmp_path: Path,
    vendors: VendorServer,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Names]:
    """Yield a strategy, and a ``print`` that stops the feed after one bar of its stream."""
    pytest.importorskip("backtrader")
    import backtrader as bt

    opens = clock.now_ms() // MINUTE_MS * MINUTE_MS
    # No wait of the feed, such as that for a confirmation, ends in the two seconds around the close.
    clock.advance((opens + MINUTE_MS - clock.now_ms()) / 1000 - 1)
    opens_before = f"{from_ms(opens - MINUTE_MS):%H:%M}"

    class MyStrategy(bt.Strategy):
        def next(self) -> None:
            self.env.runstop()

    names: Names = {}

    def show(*words: object) -> None:
        print(*words)
        if words[-1] == "live":
            names["feed"].stop()
        elif opens_before in str(words[1]):  # the history ends: the running minute closes
            wait_until(lambda: names["feed"].status.state is StreamState.LIVE, "a confirmation")
            clock.advance(2)
            assert server.publish("binance", "BTCUSDT", "1m", opens) == 1

    with StreamServer(clock, vendors.truth) as server:
        plain = yaml.safe_load(rules.read_text())
        plain["providers"]["binance"]["ws_url"] = server.url("binance")
        rules.write_text(yaml.safe_dump(plain))
        MANAGER.forget()
        MANAGER.get(lambda: DataManager(tmp_path / "cache", rules, clock=clock))
        names |= {"MyStrategy": MyStrategy, "print": show}
        yield names
        names["feed"].stop()
    MANAGER.forget()
