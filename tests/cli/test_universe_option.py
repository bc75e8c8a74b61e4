"""``--universe`` and ``--as-of`` of populate, sync, validate and gaps."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run
from tests.universe_doubles import DatedUniverse
from tests.vendor_server import VendorServer

# Symbol to the half-open session dates of its membership.
LISTED = {
    "AAPL": ("2010-01-04", None),
    "GONE": ("2010-01-04", "2023-03-13"),
    "MSFT": ("2023-03-08", None),
}
DAYS = ("--timeframes", "1d", "--start", "2023-03-06", "--end", "2023-03-17")


@pytest.fixture
def universe(monkeypatch: pytest.MonkeyPatch) -> DatedUniverse:
    """Return the universe that the default database is taken to hold."""
    found = DatedUniverse(dict(LISTED))
    monkeypatch.setattr("src.data.data_manager.get_universes", lambda: found)
    return found


@pytest.mark.usefixtures("universe")
def test_populate_fills_the_members_of_any_day_in_the_range(run: Run) -> None:
    ran = run("populate", "--universe", "mine", *DAYS, "--json")
    assert [each["symbol"] for each in ran.json["results"]] == ["AAPL", "GONE", "MSFT"]
    assert ran.json["universe"]["symbols"] == ["AAPL", "GONE", "MSFT"]
    assert (ran.json["universe"]["since"], ran.json["universe"]["as_of"]) == (
        "2023-03-06",
        "2023-03-17",
    )
    assert "mine from 2023-03-06 to 2023-03-17: 3 members, point-in-time" in ran.err
    assert [each["rows"] for each in ran.json["results"]] == [10, 5, 10], "the delisted one as well"
    assert ran.code == 1, "five sessions of it are lacking"


@pytest.mark.usefixtures("universe")
def test_as_of_means_the_members_of_that_day(run: Run, vendors: VendorServer) -> None:
    ran = run(
        "populate", "--universe", "mine", "--as-of", "2023-03-06", *DAYS, "--dry-run", "--json"
    )
    assert ran.json["universe"]["symbols"] == ["AAPL", "GONE"]
    assert ran.json["series"] == 2
    ran = run("populate", "--universe", "mine", "--as-of", "2023-03-13", *DAYS, "--json")
    assert [each["symbol"] for each in ran.json["results"]] == ["AAPL", "MSFT"]
    assert ran.code == 0
    today = run("populate", "--universe", "mine", "--as-of", "today", *DAYS, "--dry-run", "--json")
    assert today.json["universe"]["symbols"] == ["AAPL", "MSFT"]


def test_members_that_are_not_point_in_time_are_marked(run: Run, universe: DatedUniverse) -> None:
    universe.known_from = "2024-01-02"
    ran = run("populate", "--universe", "mine", *DAYS, "--dry-run")
    assert "3 members, not point-in-time: recorded later" in ran.err


def test_sync_brings_the_members_up_to_date_and_names_those_without_a_series(
    run: Run, universe: DatedUniverse, vendors: VendorServer
) -> None:
    bounds = ("--start", "2024-05-01", "--end", "2024-05-31")
    universe.intervals |= {"BTCUSDT": LISTED["AAPL"]}
    assert (
        run("populate", "--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "1d,1h", *bounds).code == 0
    )
    del universe.intervals["MSFT"]
    vendors.clear_log()
    ran = run("sync", "* 1d", "--universe", "mine", "--json")
    told = {each["symbol"]: each for each in ran.json["results"]}
    assert list(told) == ["BTCUSDT", "AAPL", "GONE"], "another series is left alone"
    assert (told["BTCUSDT"]["timeframe"], told["BTCUSDT"]["rows"]) == ("1d", 42)
    assert "nothing is cached for it (`onetape populate` fetches it)" in told["GONE"]["error"]
    assert ran.code == 1
    assert vendors.count("yahoo") == 0
    ran = run("sync", "* 1d", "--universe", "mine")
    assert "BTCUSDT" in ran.out and "ETHUSDT" not in ran.out


@pytest.mark.usefixtures("universe")
def test_validate_and_gaps_look_at_the_members_and_name_those_without_a_series(
    run: Run, vendors: VendorServer
) -> None:
    run("populate", "--symbols", "AAPL,GONE,BTCUSDT", *DAYS)
    vendors.clear_log()
    ran = run("validate", "--universe", "mine", "--json")
    assert [each.get("symbol", each.get("error")) for each in ran.json] == [
        "AAPL", "GONE", "MSFT: nothing is cached for it (`onetape populate` fetches it)",
    ]  # fmt: skip
    assert ran.code == 1
    shown = run("validate", "--universe", "mine", "--as-of", "2023-03-06")
    assert "2 series" in shown.out and "MSFT" not in shown.out
    ran = run("gaps", "--universe", "mine", "--json")
    assert [each["symbol"] for each in ran.json["series"]] == ["AAPL", "GONE"]
    assert ran.json["absent"] == ["MSFT"]
    assert ran.code == 1
    ran = run("gaps", "--universe", "mine", "--start", "2023-03-13", "--end", "2023-03-17")
    assert "GONE" not in ran.out, "it was no member on any day of this range"
    assert "MSFT: nothing is cached for it" in ran.out
    ran = run("gaps", "--universe", "mine", "--as-of", "2023-03-06")
    assert ran.code == 0 and "GONE 1d" in ran.out
    assert vendors.count() == 0


@pytest.mark.usefixtures("universe")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("populate", "--universe", "mine", "--symbols", "AAPL"), "--universe cannot be combined"),
        (("populate", "--universe", "mine", "--symbols-file", "x"), "--universe cannot be combined"),
        (("populate", "--symbols", "AAPL", "--as-of", "today"), "needs"),
        (("populate", "--universe", "mine", "--as-of", "2023-02-30"), "as_of '2023-02-30' is not a time"),
        (("populate", "--universe", "mine", "--start", "2023-13-01"), "start '2023-13-01' is not a time"),
        (("populate", "--universe", "mine", "--start", "2023-05-01", "--end", "2023-03-01"),
         "universe mine: end '2023-03-01' is before start '2023-05-01'"),
        (("populate", "--universe", "other"), "the universe does not exist: 'other'"),
        (("populate", "--universe", "mine", "--as-of", "1999-01-04"), "0 members"),
        (("populate", "--universe", ""), "universe is empty"),
        (("sync", "--as-of", "today"), "needs"),
        (("validate", "AAPL", "1d", "--universe", "mine"), "is needed: a symbol and a timeframe"),
        (("validate", "--all", "--universe", "mine"), "is needed: a symbol and a timeframe"),
        (("validate", "--universe", "mine", "--start", "2024"), "accepts only the whole range"),
        (("validate", "AAPL", "1d", "--as-of", "today"), "needs"),
        (("gaps", "--all", "--universe", "mine"), "one of these is needed: a symbol, --universe"),
        (("gaps", "AAPL", "--universe", "mine"), "one of these is needed: a symbol, --universe"),
        (("gaps", "AAPL", "--as-of", "2024-01-02"), "needs"),
    ],
)  # fmt: skip
def test_an_invalid_universe_option_exits_with_2_before_any_request(
    run: Run, vendors: VendorServer, words: tuple[str, ...], told: str
) -> None:
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert told in " ".join(ran.err.split())
    assert vendors.count() == 0


def test_help_explains_which_members_of_a_universe_are_used(bare: Run) -> None:
    for command in ("populate", "sync", "validate", "gaps"):
        shown = " ".join(bare(command, "--help").out.split())
        assert "the members of a universe (extra db" in shown, command
        assert "including delisted ones: each symbol that was a member on any day" in shown, command
