"""Key probes: each permission of a key is requested once, and refusals are remembered separately."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.config.settings import load_settings
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, UnknownProviderError
from src.data.jobs.vendors.checks import Check
from src.data.jobs.vendors.key_probe import probe, probed_vendors
from src.data.jobs.vendors.vendors import selector_of
from tests.core.net.scripted import Recorder, reply, serving

Probed = Callable[[], list[Check]]
KEY = "CANARY-0123456789"
DAY = {"date": "2024-06-10T00:00:00.000Z", "open": 1, "high": 2, "low": 1, "close": 2, "volume": 3,
       "divCash": 0.0, "splitFactor": 1.0}  # fmt: skip


class Plan:
    """Speaks as Tiingo does; the status of what the made-up plan lacks is scripted by path."""

    def __init__(self) -> None:
        self.lacks: dict[str, int] = {"/iex/": 403}

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        status = next((s for part, s in self.lacks.items() if part in handler.path), 200)
        body = [DAY] if "daily" in handler.path else []
        reply(handler, json.dumps(body).encode(), status)


@pytest.fixture
def plan() -> Plan:
    """Return a made-up Tiingo plan, which refuses only ``/iex/`` (403)."""
    return Plan()


@pytest.fixture
def server(plan: Plan) -> Iterator[Recorder]:
    """Yield a local server that answers according to ``plan``."""
    with serving(plan) as running:
        yield running


@pytest.fixture
def places(
    tmp_path: Path, server: Recorder, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Return the cache folder and rules of a machine that has one key."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "stock_daily: {primary: tiingo, backup: []}\nstock_intraday: {primary: tiingo, backup: []}\n"
        f"providers:\n  tiingo: {{base_url: '{server.base}'}}\n"
    )
    monkeypatch.setattr("src.data.jobs.vendors.vendors.SystemClock", lambda: clock)
    monkeypatch.setattr("src.data.core.clock.SystemClock", lambda: clock)
    monkeypatch.chdir(tmp_path)
    for name in ("ALPACA_API_KEY", "POLYGON_API_KEY", "FMP_API_KEY", "COINGECKO_DEMO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIINGO_API_KEY", KEY)
    return tmp_path / "cache", rules


@pytest.fixture
def probed(places: tuple[Path, Path], clock: ManualClock) -> Probed:
    def probed() -> list[Check]:
        selector = selector_of(load_settings(*places))
        [name] = probed_vendors(selector, "tiingo")
        return list(probe(selector, name, clock))

    return probed


def verdicts(found: list[Check]) -> list[tuple[str, str]]:
    assert {check.section for check in found} == {"tiingo"}
    return [(check.topic, check.level) for check in found]


def test_a_probe_sends_one_request_for_each_served_class_and_timeframe(
    probed: Probed, server: Recorder
) -> None:
    found = probed()
    assert verdicts(found) == [("crypto 1d", "ok"), ("stock 1d", "ok"), ("stock 5m", "fault")]
    assert "plan" in found[-1].sentence
    assert KEY not in str(found)
    asked = [path.partition("?")[0] for path, _ in server.requests]
    assert asked == ["/tiingo/crypto/prices", "/tiingo/daily/AAPL/prices", "/iex/AAPL/prices"]


def test_a_refusal_opens_the_circuit_of_one_timeframe_until_a_probe_succeeds(
    places: tuple[Path, Path], probed: Probed, server: Recorder, plan: Plan, clock: ManualClock
) -> None:
    probed()
    manager = DataManager(*places, clock=clock)
    asked = len(server.requests)
    with pytest.raises(AllProvidersFailedError, match="is paused for bars/stock/5m"):
        manager.get_ohlcv("AAPL", "5m", "2024-06-10", "2024-06-11")
    assert len(server.requests) == asked
    assert len(manager.get_ohlcv("AAPL", "1d", "2024-06-10", "2024-06-11"))
    plan.lacks.clear()
    assert verdicts(probed())[-1] == ("stock 5m", "ok")
    asked = len(server.requests)
    manager.get_ohlcv("AAPL", "5m", "2024-06-10", "2024-06-11")
    assert len(server.requests) > asked


def test_a_refused_asset_class_does_not_affect_another(probed: Probed, plan: Plan) -> None:
    plan.lacks = {"/crypto/": 403}
    found = verdicts(probed())
    assert found == [("crypto 1d", "fault"), ("stock 1d", "ok"), ("stock 5m", "ok")]


@pytest.mark.parametrize("status, verdict", [(401, "fault"), (429, "note")])
def test_a_probe_stops_after_a_refused_key(
    probed: Probed, plan: Plan, server: Recorder, status: int, verdict: str
) -> None:
    plan.lacks = {"/": status}
    assert verdicts(probed()) == [("crypto 1d", verdict)]
    assert {path.partition("?")[0] for path, _ in server.requests} == {"/tiingo/crypto/prices"}


def test_a_probe_without_a_vendor_name_queries_only_vendors_with_a_key(
    places: tuple[Path, Path],
) -> None:
    selector = selector_of(load_settings(*places))
    assert probed_vendors(selector, None) == ["tiingo"]
    assert probed_vendors(selector, "bnc") == ["binance"]
    with pytest.raises(UnknownProviderError, match=r"'polygon' cannot be probed.*POLYGON_API_KEY"):
        probed_vendors(selector, "polygon")
    with pytest.raises(UnknownProviderError, match="'nobody' cannot be probed"):
        probed_vendors(selector, "nobody")


def test_providers_probe_prints_the_verdict_of_each_key_and_sets_the_exit_code(
    places: tuple[Path, Path], plan: Plan, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    where = ["--cache-dir", str(places[0]), "--config", str(places[1])]
    assert main(["providers", "--probe", *where]) == 0
    out = capsys.readouterr().out
    assert "✗ tiingo stock 5m" in " ".join(out.split())
    assert main(["providers", "--probe", "tiingo", "--json", *where]) == 0
    reported = json.loads(capsys.readouterr().out)["probe"]
    assert reported[0] == {
        "level": "ok", "name": "tiingo crypto 1d", "sentence": "the key allows it", "remedy": "",
    }  # fmt: skip
    plan.lacks = {"/": 401}
    assert main(["providers", "--probe", "tiingo", *where]) == 1
    monkeypatch.delenv("TIINGO_API_KEY")
    assert main(["providers", "--probe", *where]) == 0
    assert "no vendor has a key here" in capsys.readouterr().out
