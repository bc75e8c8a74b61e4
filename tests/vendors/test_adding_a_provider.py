"""The page on adding a provider, walked through: its very blocks are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.net.scripted import reply, serving
from tests.vendors.packages import Shelf, shelf

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = re.split(
    r"^## ", (ROOT / "docs" / "adding-a-provider.md").read_text("utf-8"), flags=re.MULTILINE
)
READ, CODE, HERE, PACKAGE, RULES_, USE_, TEST_, KIT_ = SECTIONS[1:]


def blocks(section: str, language: str = "python") -> list[str]:
    """Return the blocks of code of a section of the page."""
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


((CLASS,), (ROW,), (USE,), (TEST,), (KIT,)) = map(blocks, (CODE, HERE, USE_, TEST_, KIT_))
(PROJECT,) = map(tomllib.loads, blocks(PACKAGE, "toml"))
(RULES,) = map(yaml.safe_load, blocks(RULES_, "yaml"))
KEY = "k3y-c4nary-9934"
FIRST_S = 1_704_067_200  # 2024-01-01
DAY_S = 86_400


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Put the package of the page where importlib finds it."""
    folder = tmp_path / "site"
    folder.mkdir()
    with shelf(folder, monkeypatch) as made:
        offers = PROJECT["project"]["entry-points"]["onetape.providers"]
        made.put("onetape_acme", CLASS, offers, PROJECT["project"]["name"])
        yield made


def day(at: int) -> dict[str, float]:
    return {"t": at, "o": 10, "h": 12, "l": 9, "c": 11, "v": 5 + at % 7}


def acme_server(handler: BaseHTTPRequestHandler) -> None:
    """Answer like Acme: two bars a page, a cursor, and the key in a header."""
    if handler.headers["X-Key"] != KEY:
        return reply(handler, b"{}", 401)
    asked = parse_qs(urlsplit(handler.path).query)
    begin, last = (int(asked[name][0]) for name in ("from", "to"))
    begin = int(asked.get("page", [begin])[0])
    days = [at for at in range(begin - begin % DAY_S, last + 1, DAY_S) if at >= begin]
    body: dict[str, Any] = {"bars": [day(at) for at in days[:2]]}
    if len(days) > 2:
        body["next"] = str(days[2])
    return reply(handler, json.dumps(body).encode())


def test_the_vendor_that_is_read_reads_as_its_files_do() -> None:
    vendors = ROOT / "src" / "data" / "vendors"
    files = [*sorted((vendors / "finnhub").glob("*.py")), vendors / "registry.py"]
    code = [file.read_text("utf-8") for file in files]
    excerpts = blocks(READ)
    assert len(excerpts) == 6
    for excerpt in excerpts:
        assert any(excerpt in text for text in code), excerpt


def test_a_folder_and_a_row_are_a_vendor(tmp_path: Path) -> None:
    """The package is copied; the folder and the row of the page are all that is added."""
    package = tmp_path / "src" / "data"
    # Files that another process compiles just now vanish under the copy.
    unfinished = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(ROOT / "src" / "data", package, ignore=unfinished)
    shutil.copytree(ROOT / "config" / "data", tmp_path / "config" / "data")
    shutil.copytree(ROOT / "onetape", tmp_path / "onetape", ignore=unfinished)
    folder, registry = package / "vendors" / "acme", package / "vendors" / "registry.py"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Acme: bars of its crypto exchange."""\n')
    (folder / "bars.py").write_text(CLASS)
    rows, first = registry.read_text("utf-8"), '        "alpaca": VendorRow('
    assert rows.count(first) == 1
    registry.write_text(rows.replace(first, ROW + first))
    with serving(acme_server) as server:
        rules = json.loads(json.dumps(RULES))
        rules["providers"]["acme"]["base_url"] = server.base
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        told = "import json, src.data\nprint(json.dumps([src.data.__file__, df.volume.tolist()]))"
        known = (
            "from src.data.config.credentials import all_credentials\n"
            "assert 'ACME_API_KEY' in all_credentials()"
        )
        ran = subprocess.run(
            [sys.executable, "-c", "\n".join((USE, known, told))],
            cwd=tmp_path, capture_output=True, text=True, check=True, timeout=50,
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
def test_the_page_from_the_first_block_to_the_last(
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
    assert "acme" in capsys.readouterr().out
    frame = namespace["df"]
    assert frame["volume"].tolist()[:3] == [5 + (FIRST_S + n * DAY_S) % 7 for n in range(3)]
    assert len(server.requests) >= 2, "it paged"
    assert all("/v2/BTCUSDT/bars" in path and KEY not in path for path, _ in server.requests)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


@pytest.mark.usefixtures("installed")
def test_the_tests_of_the_page_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(TEST, "page", "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


@pytest.mark.usefixtures("installed")
def test_the_kit_finds_that_it_keeps_its_promises(
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
def test_the_rules_of_the_page_say_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.data.provider_selector import ProviderSelector

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
