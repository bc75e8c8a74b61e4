"""Damaged figures in the cache: fetched again if a vendor has them, else a gap with its reason."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataWarning
from tests.core.cache.counts import crossed
from tests.core.cache.damage import flipped
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Reply

from .scripted_vendor import provenance

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-10],
    "bit": lambda data: flipped(data, len(data) // 2),
    "empty": lambda data: b"",
    "garbage": lambda data: b"\xff no gzip",
    "text": lambda data: gzip.compress(gzip.decompress(data).replace(b"1.", b"x.")),
}
MEASURES = ("open_interest", "long_short_ratio", "funding_rate")
FIRST, LAST = "2024-06-01", "2024-06-09"
OLD_LAST = "2024-06-10"


def ask(manager: DataManager, what: str, last: str = LAST) -> pd.DataFrame:
    period = () if what == "funding_rate" else ("1h",)
    found: pd.DataFrame = getattr(manager, f"get_{what}")("BTCUSDT", *period, FIRST, last)
    return found


def damage(folder: Path, what: str, how: str) -> bytes:
    (path,) = folder.glob(f"{what}/BTCUSDT/*/2024.csv.gz")
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    return path.read_bytes()


def kept(folder: Path, what: str) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob(f"{what}/BTCUSDT/*/_quarantine/*.csv.gz")]


@pytest.mark.parametrize(("what", "how"), crossed(MEASURES, DAMAGE))
def test_corrupt_figures_are_fetched_again(
    make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path, what: str, how: str
) -> None:
    whole = ask(make(), what)
    assert len(whole) == (27 if what == "funding_rate" else 216)
    damaged = damage(tmp_path / "cache", what, how)
    asked = vendors.count()
    again = ask(make(), what)
    pd.testing.assert_frame_equal(again, whole)
    assert vendors.count() == asked + 1
    assert (provenance(again)["from_cache"], provenance(again)["complete"]) == (0.0, True)
    assert kept(tmp_path / "cache", what) == [damaged]
    pd.testing.assert_frame_equal(ask(make(), what), whole)
    assert vendors.count() == asked + 1, "and kept again"


@pytest.mark.parametrize(("what", "how"), crossed(MEASURES, DAMAGE))
def test_corrupt_figures_that_no_vendor_has_any_more_are_a_gap(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, tmp_path: Path,
    what: str, how: str,
) -> None:  # fmt: skip
    ask(make(), what)
    clock.advance(40 * 86_400)
    vendors.fault("binance", Fault.status(503))
    assert len(ask(make(), what))
    damaged = damage(tmp_path / "cache", what, how)
    for _ in range(2):
        with pytest.raises(AllProvidersFailedError, match=r"_quarantine/2024\..* \(the digest"):
            ask(make(), what)
    assert kept(tmp_path / "cache", what) == [damaged]
    if what != "funding_rate":
        vendors.heal()
        with pytest.warns(
            IncompleteDataWarning, match=r"only for the last 30 days; damaged and kept in"
        ):
            more = ask(make(), what, "2024-07-20")
        (gap,) = provenance(more)["gaps"]
        assert gap["start"] == "2024-06-01T00:00:00Z"
        assert "_quarantine/2024." in gap["reason"]
        assert not provenance(more)["complete"]
        assert kept(tmp_path / "cache", what) == [damaged], "never overwritten"


def sending(first: str, end: str) -> Fault:
    """Return a vendor that sends the funding rates of a part of its history, without an error."""
    span = Span(parse_iso(first), parse_iso(end))

    def some(reply: Reply) -> Reply:
        return Reply.json([r for r in json.loads(reply.body) if r["fundingTime"] in span])

    return Fault("a part", reply=some)


@pytest.mark.parametrize(("what", "how"), crossed(MEASURES, DAMAGE))
def test_damaged_figures_that_the_vendor_no_longer_has_are_a_gap_and_not_empty(
    make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path, what: str, how: str
) -> None:
    whole = ask(make(), what)
    damage(tmp_path / "cache", what, how)
    vendors.fault("binance", Fault.lie("[]"))
    for _ in range(2):
        with pytest.raises(AllProvidersFailedError, match=r"no longer returns.*_quarantine/2024\."):
            ask(make(), what)
    vendors.heal()
    pd.testing.assert_frame_equal(ask(make(), what), whole)


@pytest.mark.parametrize(
    ("sent", "gap"),
    [
        (("2024-06-04", "2024-06-10"), ("2024-06-01T00:00:00Z", "2024-06-04T00:00:00Z")),
        (("2024-06-01", "2024-06-07"), ("2024-06-07T00:00:00Z", "2024-06-10T00:00:00Z")),
    ],
)
def test_damaged_figures_that_are_refetched_only_in_part_leave_a_gap(
    make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path,
    sent: tuple[str, str], gap: tuple[str, str],
) -> None:  # fmt: skip
    whole = ask(make(), "funding_rate")
    damage(tmp_path / "cache", "funding_rate", "bit")
    vendors.fault("binance", sending(*sent))
    for _ in range(2):
        with pytest.warns(IncompleteDataWarning, match="no longer returns.*kept in quarantine"):
            some = ask(make(), "funding_rate")
        pd.testing.assert_frame_equal(
            some, whole[(whole.index >= sent[0]) & (whole.index < sent[1])]
        )
        assert not provenance(some)["complete"]
        assert [(found["start"], found["end"]) for found in provenance(some)["gaps"]] == [gap]
    vendors.heal()
    pd.testing.assert_frame_equal(ask(make(), "funding_rate"), whole)
    assert provenance(ask(make(), "funding_rate"))["complete"]


@pytest.mark.parametrize("what", MEASURES)
def test_an_empty_answer_is_complete_if_the_damaged_figures_had_no_rows(
    make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path, what: str
) -> None:
    ask(make(), what)
    damage(tmp_path / "cache", what, "cut")
    ask(make(), what)
    vendors.fault("binance", Fault.lie("[]"))
    period = () if what == "funding_rate" else ("1h",)
    days = "2024-06-10T01:00", "2024-06-10T04:00"
    frame = getattr(make(), f"get_{what}")("BTCUSDT", *period, *days)
    assert (len(frame), provenance(frame)["complete"], provenance(frame)["from_cache"]) == (
        0,
        True,
        0.0,
    )


def test_a_frame_with_foreign_columns_is_not_read_as_figures(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    manager = make()
    index = pd.date_range("2024-06-01", periods=6, freq="8h", name="timestamp")
    manager.cache.put(
        pd.DataFrame({"rate": 0.1}, index=index), "BTCUSDT", "8h", data_type="funding_rate"
    )
    rates = ask(manager, "funding_rate")
    assert len(rates) == 27
    assert vendors.count() == 1
