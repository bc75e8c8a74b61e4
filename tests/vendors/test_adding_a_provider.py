"""The page on adding a provider, walked through: its very blocks are run."""

from __future__ import annotations

import json
import re
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

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-provider.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
CLASS, USE, TEST = (code for language, code in BLOCKS if language == "python")
(PROJECT,) = (tomllib.loads(code) for language, code in BLOCKS if language == "toml")
(RULES,) = (yaml.safe_load(code) for language, code in BLOCKS if language == "yaml")
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
