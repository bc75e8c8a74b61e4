"""A kind of alert is one class in one table: parsed, stored, listed, evaluated and added by command."""

from __future__ import annotations

import itertools
import json
import re
import statistics
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import src.data.cli.alerts as command
from src.data.clock import ManualClock
from src.data.jobs import alert_values
from src.data.jobs.alert_values import (
    KINDS,
    Alert,
    CrossingAlert,
    PriceAlert,
    alert_keys,
)
from src.data.model.texts import plain_number
from src.data.prices.indicators import Columns, register, unregister
from tests.cli.conftest import Run
from tests.contract.source import ROOT
from tests.jobs.alert_records import MemoryRecords


class VolumeSpike(CrossingAlert):
    """An alert on a volume that is a multiple of the average before; a key is only for programs."""

    kind = "volume_spike"
    keys: ClassVar[tuple[str, ...]] = ("volume_spike", "condition", "lookback")
    threshold = "volume_spike"
    option = ("FACTOR", "watch for a volume of FACTOR times the average")

    @classmethod
    def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        ratio = f"surge_ratio({int(config.get('lookback', 3))})"
        return super().parse_own(config) | {
            "quantity": ratio,
            "value": float(config["volume_spike"]),
        }

    def own_json(self) -> dict[str, Any]:
        lookback = int(self.quantity.partition("(")[2][:-1])
        return {
            "volume_spike": self.value,
            "condition": self.condition,
            "lookback": lookback,
        }


class VolumeOf(VolumeSpike):
    """A kind whose option has the name of another argument of the command."""

    kind = "volume_of"
    keys = ("symbol", "condition")

    @classmethod
    def parse_own(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        return super().parse_own({**config, "volume_spike": config["symbol"]})

    def own_json(self) -> dict[str, Any]:
        return {"symbol": self.value, "condition": self.condition}


def documented_kind() -> type[Alert]:
    """Return the kind that the docstring of ``alert_values`` shows."""
    lines = (alert_values.__doc__ or "").splitlines()
    begin = lines.index("    class VolumeAbove(CrossingAlert):")
    code = itertools.takewhile(lambda line: line.startswith("    ") or not line, lines[begin:])
    names = dict(vars(alert_values))
    exec(textwrap.dedent("\n".join(code)), names)
    kind: type[Alert] = names["VolumeAbove"]
    return kind


def surge_ratio(bars: Columns, period: int) -> float:
    volumes = bars["volume"]
    if len(volumes) <= period:
        return float("nan")
    return float(volumes[-1]) / float(volumes[-1 - period : -1].mean())


@pytest.fixture
def another_kind(monkeypatch: pytest.MonkeyPatch) -> Any:
    for kind in (documented_kind(), VolumeSpike, VolumeOf):
        monkeypatch.setitem(KINDS, kind.kind, kind)
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
    text = bare("alerts", "add", "--help").out
    assert "--volume-above SHARES" in text and "such as AAPL; --problem without a symbol" in text
    volumes = [bar["volume"] for bar in fetched(run, 60)]
    level = statistics.median(volumes)
    above = ("--volume-above", str(min(volumes)), "--timeframe", "1m")
    ran = run("alerts", "add", "BTCUSDT", "above", "5", *above)
    assert ran.code == 2
    assert (
        "--volume-above cannot be combined with a condition, a value, --indicator, --problem, "
        in ran.err.replace("\n", " ")
    )
    ran = run("alerts", "add", "BTCUSDT", *above, "--cooldown", "1")
    assert ran.code == 0, ran.err
    assert f"alert 1: BTCUSDT 1m volume above {plain_number(min(volumes))}, until" in ran.out
    (listed,) = bare("alerts", "list", "--json").json
    assert (listed["alert_type"], listed["volume_above"]) == ("volume_above", min(volumes))
    assert not {"price", "condition", "value", "indicator", "problem"} & listed.keys()

    from src.data.db.core.database import get_database
    from src.data.db.repos.repo_jobs import AlertsRepo, alert_as_dict

    with get_database().writing() as session:
        alerts = AlertsRepo(session, clock)
        assert alerts.update(1, {"volume_above": level})
        (row,) = map(alert_as_dict, alerts.active())
    assert (row["alert_type"], row["volume_above"]) == ("volume_above", level)

    clock.advance(60 * 60)
    bars = fetched(run, 60)
    starts = [
        bar["timestamp"].replace(" ", "T")[:16]
        for before, bar in itertools.pairwise(bars)
        if before["volume"] <= level < bar["volume"]
    ]
    assert starts
    ran = run("alerts", "run", "--once")
    assert ran.code == 0, ran.err
    said = f" is above {plain_number(level)} (bar "
    fired = [line for line in ran.out.splitlines() if said in line]
    assert [line.partition("(bar ")[2][:16] for line in fired] == starts


def fetched(run: Run, bars: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run("fetch", "BTCUSDT", "1m", "--bars", str(bars), "--json").json[
        "bars"
    ]
    assert len(found) == bars
    return found


@pytest.mark.usefixtures("another_kind")
def test_a_kind_of_its_own_names_the_key_of_the_value(
    run: Run, bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = MemoryRecords()
    monkeypatch.setattr(command, "records", lambda *, make=True: book)
    spike = ("--volume-spike", "1.2")
    for refused, said in {
        spike: "needs a symbol and a condition, or --problem",
        ("below", "0", *spike): "cannot be combined with a value,",
        ("below", "--volume-spike"): "expected one argument",
        ("below", *spike, "--problem", "gap"): "cannot be combined",
        ("blow", *spike): "did you mean 'below'",
    }.items():
        ran = run("alerts", "add", "BTCUSDT", *refused, "--timeframe", "1m")
        assert ran.code == 2 and said in ran.err.replace("\n", " "), (refused, ran.err)
    assert not book.alerts
    ran = run("alerts", "add", "BTCUSDT", "below", *spike, "--timeframe", "1m", "--cooldown", "1")
    assert ran.code == 0, ran.err
    assert "alert 1: BTCUSDT 1m surge_ratio(3) below 1.2" in ran.out
    (listed,) = bare("alerts", "list", "--json").json
    own = {"alert_type": "volume_spike", "volume_spike": 1.2, "condition": "below", "lookback": 3}
    shared = {"id", "active", "reason", "state", "ticker", "timeframe", "alert_action", "expires"}
    assert {key: value for key, value in listed.items() if key not in shared} == own


@pytest.mark.usefixtures("another_kind")
def test_a_kind_takes_only_the_alerts_that_its_option_names(
    run: Run, bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key may be the name of another argument."""
    book = MemoryRecords()
    monkeypatch.setattr(command, "records", lambda *, make=True: book)
    for words in (("above", "5"), ("below", "--symbol", "1.2")):
        ran = run("alerts", "add", "BTCUSDT", *words, "--timeframe", "1m")
        assert ran.code == 0, ran.err
    price, other = bare("alerts", "list", "--json").json
    assert (price["alert_type"], price["price"]) == ("price", 5)
    assert (other["alert_type"], other["symbol"]) == ("volume_of", 1.2)


def test_a_kind_that_no_job_would_evaluate_is_refused() -> None:
    """A stored alert that nothing evaluates would be silent for ever."""
    with pytest.raises(
        TypeError, match=r"^Silent must be a subclass of CrossingAlert or DataAlert"
    ):
        type("Silent", (Alert,), {"kind": "silent", "keys": ("silent",)})
    with pytest.raises(TypeError, match=r"^Everywhere cannot be about all series"):
        type("Everywhere", (PriceAlert,), {"kind": "everywhere", "may_be_of_all": True})


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


def test_each_kind_is_in_the_table_of_kinds_with_its_keys_and_option() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    table = page.partition("## Kinds of alerts")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", table, re.MULTILINE)
    assert [name for name, *_ in rows] == [*KINDS]
    for name, keys, option in rows:
        kind = KINDS[name]
        assert re.findall(r"`(\w+)`", keys) == [*kind.keys], name
        flags = [kind.keys[0].replace("_", "-")] if kind.option else []
        assert re.findall(r"`--([\w-]+)`", option) == flags, name
