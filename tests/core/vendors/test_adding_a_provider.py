"""The page on adding a provider, walked through: its very blocks are run."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import Topic
from src.data.core.vendors.factory import canonical_name, downloader_class
from src.data.data_manager import DataManager
from src.data.errors import ForeignError
from tests.core.net.scripted import reply, serving
from tests.core.vendors.packages import PackageFolder, forget, package_folder
from tests.packaging.build import unpack
from tests.pages import pages
from tests.processes import ended, fork
from tests.vendor_server.stream_faces import STREAM_FACES
from tests.vendor_server.streams import StreamServer

ROOT = Path(__file__).resolve().parents[3]
SECTIONS = re.split(
    r"^## ", (ROOT / "docs" / "adding-a-provider.md").read_text("utf-8"), flags=re.MULTILINE
)
READ, CODE, HERE, PACKAGE, RULES_, USE_, TEST_, KIT_, MORE_, LEDGER_, RELAY_, _ = SECTIONS[1:]


def blocks(section: str, language: str = "python") -> list[str]:
    """Return the blocks of code of a section of the page."""
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


((CLASS,), (NOTEBOOK,), (USE,), (TEST,), (KIT,)) = map(blocks, (CODE, PACKAGE, USE_, TEST_, KIT_))
IMPORTS, FROM_ROW, ROW, FACE, FACE_TEST, SHEET = blocks(HERE)
((PACKAGED_RULES),) = blocks(HERE, "yaml")
COINS, LIVE, USE_MORE = blocks(MORE_)
(LEDGER, USE_LEDGER), (RELAY, USE_RELAY) = map(blocks, (LEDGER_, RELAY_))
(RULES,), (RULES_OF_RELAY,) = (
    [yaml.safe_load(b) for b in blocks(s, "yaml")] for s in (RULES_, RELAY_)
)
# A test of this file runs each of these, and holds the excerpts of the first section against the files.
_CODE = {
    CLASS,
    *blocks(HERE),
    NOTEBOOK,
    USE,
    TEST,
    KIT,
    COINS,
    LIVE,
    USE_MORE,
    LEDGER,
    USE_LEDGER,
    RELAY,
    USE_RELAY,
}
RUN = [block for block in pages()["adding-a-provider.md"] if block.code in {*_CODE, *blocks(READ)}]
KEY = "k3y-c4nary-9934"
FIRST_S = 1_704_067_200  # 2024-01-01
DAY_S = 86_400


POINTS, ALL_MODULES = blocks(MORE_, "toml")
# Distribution to what is printed of it: its project file, and the modules.
PACKAGES = {
    "acme": (
        blocks(PACKAGE, "toml")[0].replace('py-modules = ["onetape_acme"]\n', ALL_MODULES) + POINTS,
        {"onetape_acme": CLASS, "onetape_acme_coins": COINS, "onetape_acme_live": LIVE},
    ),
    "ledger": (blocks(LEDGER_, "toml")[0], {"onetape_ledger": LEDGER}),
    "relay": (blocks(RELAY_, "toml")[0], {"onetape_relay": RELAY}),
}


FIRST = blocks(PACKAGE, "toml")[0], {"onetape_acme": CLASS}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the packages as the page prints them, their test beside them; return the wheels by name.

    ``first`` is the package of section 3, before later sections add to it, built for `pip install -e .`.
    """
    top = tmp_path_factory.mktemp("packages")
    for name, (project, modules) in {**PACKAGES, "first": FIRST}.items():
        folder = top / name
        folder.mkdir()
        (folder / "pyproject.toml").write_text(project)
        tests = f"test_{name.replace('first', 'acme')}"
        for module, code in {**modules, tests: TEST}.items():
            (folder / f"{module}.py").write_text(code)

    def build() -> None:
        with Path(top, "log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        hooks = importlib.import_module("setuptools.build_meta")  # here: it changes the importer
        for name in PACKAGES:
            os.chdir(top / name)
            hooks.build_wheel(str(top))
        os.chdir(top / "first")
        hooks.build_editable(".")

    assert ended(fork(build)) == 0, Path(top, "log").read_text()
    wheels = {name: top.glob(f"onetape_{name}-*.whl") for name in PACKAGES}
    return {name: wheel for name, (wheel,) in [*wheels.items(), ("first", top.glob("first/*.whl"))]}


def test_the_first_package_of_the_page_can_be_installed_with_its_test(
    built: dict[str, Path],
) -> None:
    with zipfile.ZipFile(built["first"]) as files:
        assert "test_acme" not in str(files.namelist())
        points = files.read("onetape_acme-1.0.dist-info/entry_points.txt").decode()
    assert "acme = onetape_acme:AcmeDataDownloader" in points


@pytest.fixture
def installed(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PackageFolder]:
    """Put the packages of the page where importlib finds them."""
    folder = tmp_path / "site"
    folder.mkdir()
    with package_folder(folder, monkeypatch) as made:
        for name in PACKAGES:
            unpack(built[name], folder)
        made.modules += [module for _, modules in PACKAGES.values() for module in modules]
        forget()
        yield made


def day(at: int) -> dict[str, float]:
    return {"t": at, "o": 10, "h": 12, "l": 9, "c": 11, "v": 5 + at % 7}


def acme_server(handler: BaseHTTPRequestHandler) -> None:
    """Answer like Acme: two bars a page, a cursor, and the key in a header."""
    if handler.headers["X-Key"] != KEY:
        return reply(handler, b"{}", 401)
    if handler.path.endswith("/about"):
        about = {
            "pair": "BTCUSDT",
            "name": "Bitcoin",
            "worth": 2000,
            "supply": 20e6,
            "money": "USD",
        }
        return reply(handler, json.dumps(about).encode())
    asked = parse_qs(urlsplit(handler.path).query)
    begin, last = (int(asked[name][0]) for name in ("from", "to"))
    begin = int(asked.get("page", [begin])[0])
    step = {"1Day": DAY_S, "1Min": 60}[asked["bar"][0]]
    days = [at for at in range(begin - begin % step, last + 1, step) if at >= begin]
    body: dict[str, Any] = {"bars": [day(at) for at in days[:2]]}
    if len(days) > 2:
        body["next"] = str(days[2])
    return reply(handler, json.dumps(body).encode())


def test_the_excerpts_of_the_page_equal_the_files_of_the_vendor() -> None:
    core = ROOT / "src" / "data" / "core"
    files = [*sorted((core / "vendors" / "finnhub").glob("*.py")), core / "registry.py"]
    code = [file.read_text("utf-8") for file in files]
    excerpts = blocks(READ)
    assert len(excerpts) == 6
    for excerpt in excerpts:
        assert any(excerpt in text for text in code), excerpt


def test_the_helpers_that_the_page_names_are_public() -> None:
    rows = [row for row in CODE.splitlines() if "of `onetape.vendors`" in row]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)\(", row)}
    assert named > {"check_interval", "check_symbol", "number", "stamp_of"}
    assert named <= {*importlib.import_module("onetape.vendors").__all__}


def copied(top: Path) -> Path:
    """Return the package in a copy of the checkout, with the folder and the row of the page."""
    package = top / "src" / "data"
    # Files that another process compiles just now vanish under the copy.
    unfinished = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(ROOT / "src" / "data", package, ignore=unfinished)
    shutil.copytree(ROOT / "config" / "data", top / "config" / "data")
    shutil.copytree(ROOT / "onetape", top / "onetape", symlinks=True, ignore=unfinished)
    folder, registry = package / "core" / "vendors" / "acme", package / "core" / "registry.py"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Acme: bars of its crypto exchange."""\n')
    of_package = re.compile(
        r"from onetape\.errors .+\nfrom onetape\.vendors import \((?:\n .+)+\n\)\n"
    )
    code, imports = of_package.subn(lambda _: IMPORTS, CLASS)
    keys = '    secrets = ("ACME_API_KEY",)\n    requires_api_key = True\n'
    assert imports == 1 and keys in code
    (folder / "bars.py").write_text(code.replace(keys, FROM_ROW))
    added(registry, '        "alpaca": VendorRow(', ROW)
    return package


def added(path: Path, first: str, text: str) -> None:
    """Add a text to a file, before its only line that begins with ``first``."""
    before = path.read_text("utf-8")
    assert before.count(first) == 1
    path.write_text(before.replace(first, text + first))


def test_a_vendor_made_by_the_page_passes_the_kit(tmp_path: Path) -> None:
    """The checkout is copied; what the second section prints is all that is added."""
    copied(tmp_path)
    shutil.copytree(
        ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    added(
        tmp_path / "config" / "data" / "provider_rules.yaml", "  finnhub:\n", PACKAGED_RULES + "\n"
    )
    tests = {
        "vendor_server/acme.py": FACE,
        "vendor_server/test_acme.py": FACE_TEST,
        "conformance/sheets/acme.py": SHEET,
    }
    for name, code in tests.items():
        (tmp_path / "tests" / name).write_text(code)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "acme", "--timeout", "300",
         "tests/conformance", "tests/vendor_server/test_acme.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", ran.stdout)[0]) > 50, ran.stdout
    assert re.findall(r"(\d+) skipped", ran.stdout) == ["5"], ran.stdout


def test_a_folder_and_a_registry_row_are_enough_for_a_vendor(tmp_path: Path) -> None:
    """The package is copied; the folder and the row of the page are all that is added."""
    package = copied(tmp_path)
    with serving(acme_server) as server:
        rules = json.loads(json.dumps(RULES))
        rules["providers"]["acme"]["base_url"] = server.base
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        reported = (
            "import json, src.data\nprint(json.dumps([src.data.__file__, df.volume.tolist()]))"
        )
        known = (
            "from src.data.core.config.credentials import all_credentials\n"
            "assert 'ACME_API_KEY' in all_credentials()"
        )
        ran = subprocess.run(
            [sys.executable, "-c", "\n".join((USE, known, reported))],
            cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300,
            env=os.environ | {
                "ACME_API_KEY": KEY,
                "DATA_CACHE_DIR": str(tmp_path / "cache"),
            },
        )  # fmt: skip
    vendors, last = ran.stdout.splitlines()
    where, volumes = json.loads(last)
    assert Path(where).parent == package
    assert vendors == "['acme']"
    assert volumes[:3] == [5 + (FIRST_S + n * DAY_S) % 7 for n in range(3)]
    assert all("/v2/BTCUSDT/bars" in path for path, _ in server.requests)


@pytest.mark.usefixtures("installed")
def test_the_page_runs_from_the_first_block_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_API_KEY", KEY)
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "cache"))
    with serving(acme_server) as server:
        rules = json.loads(json.dumps(RULES))
        rules["providers"]["acme"]["base_url"] = server.base
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        namespace: dict[str, Any] = {}
        exec(compile(USE, "page", "exec"), namespace)
    assert capsys.readouterr().out == blocks(USE_, "text")[0]
    frame = namespace["df"]
    assert frame["volume"].tolist()[:3] == [5 + (FIRST_S + n * DAY_S) % 7 for n in range(3)]
    assert len(server.requests) >= 2, "it paged"
    assert all("/v2/BTCUSDT/bars" in path and KEY not in path for path, _ in server.requests)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


def test_a_class_registered_in_a_notebook_needs_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with package_folder(tmp_path, monkeypatch) as site:
        site.add("onetape_acme", CLASS)
        assert canonical_name("acme") is None
        exec(compile(NOTEBOOK, "page", "exec"), {})
        assert downloader_class("acme").display_name == "Acme"


@pytest.mark.usefixtures("installed")
def test_the_tests_of_the_page_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(TEST, "page", "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


@pytest.mark.usefixtures("installed")
def test_the_provider_of_the_page_passes_the_conformance_kit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page shows it: recorded once, and examined without the vendor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_API_KEY", KEY)
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ONETAPE_RECORD", "tests/recordings")
    with serving(acme_server) as server:
        rules = json.loads(json.dumps(RULES))
        rules["providers"]["acme"]["base_url"] = server.base
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        exec(compile(USE, "page", "exec"), {})
    monkeypatch.delenv("ONETAPE_RECORD")
    monkeypatch.delenv("ACME_API_KEY")
    namespace: dict[str, Any] = {}
    exec(compile(KIT, "page", "exec"), namespace)
    namespace["test_acme_keeps_its_promises"]()
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


@pytest.mark.usefixtures("installed")
def test_the_rules_of_the_page_set_routing_key_and_settling_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.data.core.provider_selector import ProviderSelector

    RULES["providers"]["acme"]["api_key_env"] = "TEAM_KEY"
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(RULES))
    RULES["providers"]["acme"].pop("api_key_env")
    monkeypatch.delenv("ACME_API_KEY", raising=False)
    selector = ProviderSelector(path, tmp_path / "cache")
    assert selector.get_provider_with_failover("BTCUSDT", "1d") == ["binance"]
    monkeypatch.setenv("TEAM_KEY", KEY)
    assert selector.get_provider_with_failover("BTCUSDT", "1d") == ["acme", "binance"]
    acme = selector.get_best_downloader("BTCUSDT", "1d")
    assert acme is not None
    assert acme.secret("ACME_API_KEY") == KEY
    assert acme.capabilities.settle_ms == 300_000


# --- companies and streams, together and alone ---------------------------------------------------

NOON_MS = 1_704_456_000_000  # 2024-01-05 12:00


class AcmeFace:
    """Lets in who has the key, and sends the minute that begins at noon."""

    row: ClassVar[dict[str, float]] = {"o": 10, "h": 12, "l": 9, "c": 11.5, "v": 7}

    def greeting(self) -> Sequence[str]:
        return []

    def answer(self, text: str, topics: set[Topic]) -> Sequence[str]:
        asked = json.loads(text)
        if asked["do"] == "login":
            is_right = asked["key"] == KEY
            said = (
                {"type": "welcome"}
                if is_right
                else {"type": "refused", "why": f"no {asked['key']}"}
            )
            return [json.dumps(said)]
        bar = {"type": "bar", "pair": asked["pairs"][0], "t": NOON_MS // 1000, "closed": True}
        return [json.dumps({"type": "following"}), json.dumps(bar | self.row)]


class RelayFace(AcmeFace):
    """Sends that minute at once."""

    def answer(self, text: str, topics: set[Topic]) -> Sequence[str]:
        asked = json.loads(text)
        return [json.dumps([p, NOON_MS // 1000, *self.row.values()]) for p in asked.get("on", ())]


def ledger_server(handler: BaseHTTPRequestHandler) -> None:
    """Answer like Ledger, with the key in a parameter."""
    asked = parse_qs(urlsplit(handler.path).query)
    if asked["token"] != [KEY]:
        return reply(handler, b"{}", 401)
    body = {"ticker": asked["of"][0], "pe": 31.5, "yield": 0.5}
    return reply(handler, json.dumps(body).encode())


class Place:
    """A folder in which the page's blocks run, their vendors on this machine."""

    def __init__(self, folder: Path, clock: ManualClock, urls: dict[str, dict[str, str]]) -> None:
        self.folder, self.clock, self.urls = folder, clock, urls

    def manager(self, rules: dict[str, Any] = RULES) -> DataManager:
        """Return a manager by rules that lead here."""
        here = json.loads(json.dumps(rules))
        for name, urls in self.urls.items():
            here.setdefault("providers", {}).setdefault(name, {}).update(urls)
        (self.folder / "rules.yaml").write_text(yaml.safe_dump(here))
        (self.folder / "fundamentals.json").write_text(blocks(LEDGER_, "json")[0])
        return DataManager(self.folder / "cache", self.folder / "rules.yaml", clock=self.clock)

    def leaks(self) -> list[Path]:
        """Return the files that hold the key."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.fixture
def place(
    tmp_path: Path, installed: PackageFolder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Yield a place with local vendors, the API keys set, and the time 2024-01-05 12:00:55 UTC."""
    monkeypatch.setenv("ACME_API_KEY", KEY)
    monkeypatch.setenv("LEDGER_API_KEY", KEY)
    monkeypatch.setitem(STREAM_FACES, "acme", AcmeFace)
    monkeypatch.setitem(STREAM_FACES, "relay", RelayFace)
    clock = ManualClock(NOON_MS + 55_000)  # its bar closes in five seconds
    with (
        serving(acme_server) as acme,
        serving(ledger_server) as ledger,
        StreamServer(clock) as streams,
    ):
        yield Place(tmp_path, clock, {
            "acme": {"base_url": acme.base, "ws_url": streams.url("acme")},
            "ledger": {"base_url": ledger.base},
            "relay": {"ws_url": streams.url("relay")},
        })  # fmt: skip


@pytest.mark.parametrize(
    ("section", "code", "rules"),
    [(MORE_, USE_MORE, RULES), (LEDGER_, USE_LEDGER, RULES), (RELAY_, USE_RELAY, RULES_OF_RELAY)],
    ids=["all three", "fundamentals alone", "a stream alone"],
)
def test_the_code_of_a_section_prints_the_output_shown(
    section: str, code: str, rules: dict[str, Any], place: Place, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        exec(compile(code, "page", "exec"), {"manager": place.manager(rules)})
    assert capsys.readouterr().out == blocks(section, "text")[0]
    assert not place.leaks()
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("return understood(frame", f"raise KeyError('{KEY}') or understood(frame"),
        ('return json.dumps({"on"', 'return 1 / 0 or json.dumps({"on"'),
        ("return [Ready()]", "return 5"),
        ("return [Ready()]", "return ['ready']"),
    ],
)
def test_a_failing_stream_ends_only_its_own_feed(
    good: str, bad: str, place: Place, installed: PackageFolder, caplog: pytest.LogCaptureFixture
) -> None:
    assert good in RELAY
    installed.add("onetape_relay", RELAY.replace(good, bad, 1))
    manager = place.manager(RULES_OF_RELAY)
    with (
        manager.live_feed("BTCUSDT", "1m", lookback_bars=1) as feed,
        pytest.raises(ForeignError, match="relay raised"),
    ):
        list(feed)
    assert KEY not in caplog.text
    with manager.live_feed("BTCUSDT", "1m", lookback_bars=1, provider="acme") as feed:
        assert [bar.origin for bar in islice(feed, 2)] == ["history", "live"]
