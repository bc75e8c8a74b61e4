"""A kind of alert is one class in one table: parsed, stored, listed, evaluated and added by command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import src.data.cli.alerts as command
from src.data.clock import ManualClock
from src.data.jobs.alert_values import KINDS, Alert, CrossingAlert, alert_keys
from src.data.prices.indicators import Columns, register, unregister
from tests.cli.conftest import Run
from tests.jobs.alert_records import MemoryRecords


class VolumeSurge(CrossingAlert):
    """An alert on a volume that is a multiple of the average of the bars before."""

    kind = "volume_surge"
    keys = ("volume_surge",)
    option = ("FACTOR", "watch for a volume of FACTOR times the average")

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        factor = float(config["volume_surge"])
        return {"quantity": "surge_ratio(3)", "condition": "above", "value": factor}

    def _own(self) -> dict[str, Any]:
        return {"volume_surge": self.value}


class VolumeSpike(CrossingAlert):
    """The same with a condition; its number is the command's VALUE, and a key is only for programs."""

    kind = "volume_spike"
    keys = ("volume_spike", "condition", "lookback")
    threshold = "volume_spike"
    option = ("", "watch the volume, in multiples of the average, instead of the close")

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        ratio = f"surge_ratio({int(config.get('lookback', 3))})"
        return super()._read(config) | {"quantity": ratio, "value": float(config["volume_spike"])}

    def _own(self) -> dict[str, Any]:
        lookback = int(self.quantity.partition("(")[2][:-1])
        return {
            "volume_spike": self.value,
            "condition": self.condition,
            "lookback": lookback,
        }


class VolumeBurst(VolumeSpike):
    """The same, with the number as the option's argument."""

    kind = "volume_burst"
    keys = ("volume_burst", "condition")
    threshold = "value"
    option = ("FACTOR", "watch for a volume of FACTOR times the average")

    @classmethod
    def _read(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return super()._read({**config, "volume_spike": config["volume_burst"]})

    def _own(self) -> dict[str, Any]:
        return {"volume_burst": self.value, "condition": self.condition}


def surge_ratio(bars: Columns, period: int) -> float:
    volumes = bars["volume"]
    if len(volumes) <= period:
        return float("nan")
    return float(volumes[-1]) / float(volumes[-1 - period : -1].mean())


@pytest.fixture
def another_kind(monkeypatch: pytest.MonkeyPatch) -> Any:
    for kind in (VolumeSurge, VolumeSpike, VolumeBurst):
        monkeypatch.setitem(KINDS, kind.kind, kind)  # type: ignore[arg-type]
    alert_keys.cache_clear()
    register("surge_ratio", surge_ratio, period=3, window=lambda period: period + 1)
    yield
    unregister("surge_ratio")
    monkeypatch.undo()
    alert_keys.cache_clear()


@pytest.mark.usefixtures("another_kind")
def test_a_kind_of_alert_needs_only_a_class_and_a_row(
    run: Run, bare: Run, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("sqlalchemy", reason="the extra db is not installed")
    monkeypatch.setenv("DB_URL", f"sqlite:///{tmp_path / 'records.db'}")
    assert "--volume-surge FACTOR" in bare("alerts", "add", "--help").out
    surge = ("--volume-surge", "1.2", "--timeframe", "1m")
    ran = run("alerts", "add", "BTCUSDT", "above", "5", *surge)
    assert ran.code == 2
    assert (
        "--volume-surge cannot be combined with a condition, a value, --indicator, --problem, "
        in ran.err.replace("\n", " ")
    )
    ran = run("alerts", "add", "BTCUSDT", *surge, "--cooldown", "1")
    assert ran.code == 0, ran.err
    assert "alert 1: BTCUSDT 1m surge_ratio(3) above 1.2" in ran.out
    (listed,) = bare("alerts", "list", "--json").json
    assert (listed["alert_type"], listed["volume_surge"]) == ("volume_surge", 1.2)
    assert not {"price", "condition", "value", "indicator", "problem"} & listed.keys()

    from src.data.db.core.database import get_database
    from src.data.db.repos.repo_jobs import AlertsRepo, alert_as_dict

    with get_database().writing() as session:
        alerts = AlertsRepo(session, clock)
        assert alerts.update(1, {"volume_surge": 1.5})
        (row,) = map(alert_as_dict, alerts.active())
    assert (row["alert_type"], row["volume_surge"]) == ("volume_surge", 1.5)

    clock.advance(60 * 60)
    bars = run("fetch", "BTCUSDT", "1m", "--bars", "63", "--json").json["bars"]
    volumes = [bar["volume"] for bar in bars]
    ratios = [volumes[n] / (sum(volumes[n - 3 : n]) / 3) for n in range(3, 63)]
    starts = [
        bars[n + 3]["timestamp"].replace(" ", "T")[:16]
        for n in range(1, 60)
        if ratios[n - 1] <= 1.5 < ratios[n]
    ]
    assert starts
    ran = run("alerts", "run", "--once")
    assert ran.code == 0, ran.err
    fired = [line for line in ran.out.splitlines() if "is above 1.5" in line]
    assert [line.partition("(bar ")[2][:16] for line in fired] == starts


@pytest.mark.usefixtures("another_kind")
@pytest.mark.parametrize(
    "kind, words, wrong",
    [
        (
            "volume_spike",
            ("below", "1.2", "--volume-spike"),
            {
                ("--volume-spike",): "needs a symbol, a condition and a value",
                ("below", "--volume-spike"): "needs a symbol, a condition and a value",
                ("below", "1.2", "--volume-spike", "--problem", "gap"): "cannot be combined",
                ("blow", "1.2", "--volume-spike"): "did you mean 'below'",
            },
        ),
        (
            "volume_burst",
            ("below", "--volume-burst", "1.2"),
            {
                ("--volume-burst", "1.2"): "needs a symbol and a condition, or",
                ("below", "0", "--volume-burst", "1.2"): "cannot be combined with a value,",
                ("below", "--volume-burst"): "expected one argument",
            },
        ),
    ],
)
def test_a_kind_of_its_own_names_the_key_of_the_value(
    run: Run,
    bare: Run,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    words: tuple[str, ...],
    wrong: dict[tuple[str, ...], str],
) -> None:
    book = MemoryRecords()
    monkeypatch.setattr(command, "records", lambda *, make=True: book)
    for refused, said in wrong.items():
        ran = run("alerts", "add", "BTCUSDT", *refused, "--timeframe", "1m")
        assert ran.code == 2 and said in ran.err.replace("\n", " "), (refused, ran.err)
    assert not book.alerts
    ran = run("alerts", "add", "BTCUSDT", *words, "--timeframe", "1m", "--cooldown", "1")
    assert ran.code == 0, ran.err
    assert "alert 1: BTCUSDT 1m surge_ratio(3) below 1.2" in ran.out
    (listed,) = bare("alerts", "list", "--json").json
    own = {"alert_type": kind, kind: 1.2, "condition": "below"}
    if kind == "volume_spike":
        own["lookback"] = 3
    shared = {"id", "active", "reason", "state", "ticker", "timeframe", "alert_action", "expires"}
    assert {key: value for key, value in listed.items() if key not in shared} == own


def test_each_kind_is_stored_in_its_documented_form() -> None:
    """The stored texts are written by hand, so that rows of older versions stay readable."""
    shared = '"ticker": "AAPL", "timeframe": "1h", "alert_action": "telegram", '
    shared += '"expires": "2030-01-01T00:00:00Z"'
    texts = {
        "price": ('"price": 250.0, "condition": "above"', "AAPL 1h close above 250"),
        "indicator": (
            '"indicator": "rsi(14)", "value": 30.0, "condition": "below"',
            "AAPL 1h rsi(14) below 30",
        ),
        "custom": (
            '"indicator": "spread", "value": 0.5, "condition": "above"',
            "AAPL 1h spread above 0.5",
        ),
        "data": ('"problem": "gap"', "AAPL 1h: gap"),
    }
    assert texts.keys() == KINDS.keys()
    for kind, (own, words) in texts.items():
        text = f'{{"alert_type": "{kind}", {shared}, {own}}}'
        alert = Alert.parse(json.loads(text), id=1, recipient="42", since_ms=0)
        assert (type(alert), str(alert)) == (KINDS[kind], words)
        assert json.dumps(alert.to_json()) == text
