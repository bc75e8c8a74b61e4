from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator

import pytest

from src.data.core.config import credentials
from src.data.core.config.credentials import (
    Credentials,
    all_credentials,
    credentials_for,
    is_placeholder,
    known_keys,
    note_key,
    note_variables,
    vendor_credentials,
)
from src.data.core.registry import VENDORS, key_names

KEY = "k3y-c4nary-7731"


@pytest.mark.parametrize(
    "asked, held",
    [
        ("POLYGON_API_KEY", "POLYGON_KEY"),
        ("POLYGON_KEY", "POLYGON_API_KEY"),
        ("TWELVE_DATA_API_KEY", "TWELVEDATA_API_KEY"),
        ("TWELVEDATA_API_KEY", "TWELVE_DATA_API_KEY"),
        ("TRADIER_API_KEY", "TRADIER_API"),
        ("BINANCE_API_KEY", "BINANCE_KEY"),
        ("BINANCE_SECRET", "BINANCE_API_SECRET"),
        ("FMP_API_KEY", "FMP_API_KEY"),
    ],
)
def test_a_key_is_found_under_any_of_its_names(asked: str, held: str) -> None:
    assert credentials_for([asked], {held: KEY})[asked] == KEY


def test_the_name_that_is_asked_for_comes_first() -> None:
    environ = {"POLYGON_KEY": "old", "POLYGON_API_KEY": "new"}
    assert credentials_for(["POLYGON_API_KEY"], environ)["POLYGON_API_KEY"] == "new"
    assert credentials_for(["POLYGON_KEY"], environ)["POLYGON_KEY"] == "old"


def test_a_vendors_own_spellings() -> None:
    found = credentials_for([("ACME_KEY", "ACME_TOKEN")], {"ACME_TOKEN": KEY})
    assert found["ACME_KEY"] == found["ACME_TOKEN"] == KEY


def test_a_rotated_key_counts_at_once() -> None:
    environ = {"FMP_API_KEY": "first"}
    credentials = credentials_for(["FMP_API_KEY"], environ)
    assert credentials["FMP_API_KEY"] == "first"
    environ["FMP_API_KEY"] = "second"
    assert credentials["FMP_API_KEY"] == "second"
    del environ["FMP_API_KEY"]
    assert credentials.get("FMP_API_KEY") is None
    assert credentials.missing == ("FMP_API_KEY",)


def test_credentials_hold_only_keys_that_are_set() -> None:
    found = credentials_for(["FINRA_API_CLIENT", "FINRA_API_SECRET"], {"FINRA_API_CLIENT": KEY})
    assert dict(found) == {"FINRA_API_CLIENT": KEY}
    assert len(found) == 1
    assert found.missing == ("FINRA_API_SECRET",)
    with pytest.raises(KeyError):
        found["FINRA_API_SECRET"]


def test_names_that_nobody_declared_are_not_looked_up() -> None:
    assert credentials_for(["FMP_API_KEY"], {"HOME": "/root"}).get("HOME") is None


@pytest.mark.parametrize("value", ["", "  ", "your_api_key", "YOUR_API_KEY", "'your_secret_key'"])
def test_blank_and_placeholders_are_no_keys(value: str) -> None:
    assert "FMP_API_KEY" not in credentials_for(["FMP_API_KEY"], {"FMP_API_KEY": value})


def test_placeholder_keys_are_listed_and_not_used() -> None:
    environ = {"FMP_API_KEY": "your_api_key", "POLYGON_API_KEY": "your_api_key", "POLYGON_KEY": KEY}
    found = credentials_for(["FMP_API_KEY", "POLYGON_API_KEY"], environ)
    assert found.placeholders == ("FMP_API_KEY",)
    assert found["POLYGON_API_KEY"] == KEY
    assert is_placeholder('"your_api_key"')
    assert not is_placeholder(KEY)


def test_blanks_around_a_key_are_dropped() -> None:
    assert credentials_for(["FMP_API_KEY"], {"FMP_API_KEY": f" {KEY}\n"})["FMP_API_KEY"] == KEY


def test_nothing_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", KEY)
    credentials = credentials_for(["FMP_API_KEY", "TIINGO_API_KEY"])
    assert repr(credentials) == "Credentials(FMP_API_KEY=set, TIINGO_API_KEY=not set)"
    assert KEY not in f"{credentials} {credentials!r} {vars(credentials)}"
    assert KEY.encode() not in pickle.dumps(credentials)
    with pytest.raises(KeyError) as caught:
        credentials["TIINGO_API_KEY"]
    assert KEY not in "".join(traceback.format_exception(caught.value))


class TestVendors:
    def test_a_vendors_key_is_found_under_all_its_usual_names(self) -> None:
        environ = {"ALPACA_API_KEY": "a", "ALPACA_SECRET_KEY": "b", "FMP_API_KEY": KEY}
        assert dict(vendor_credentials("alpaca", environ=environ)) == {
            "ALPACA_API_KEY": "a", "APCA_API_KEY_ID": "a",
            "ALPACA_SECRET_KEY": "b", "APCA_API_SECRET_KEY": "b", "ALPACA_API_SECRET": "b",
        }  # fmt: skip
        assert dict(vendor_credentials("yahoo", environ=environ)) == {}

    def test_variables_of_the_rules_are_the_only_ones(self) -> None:
        environ = {"POLYGON_API_KEY": "usual", "TEAM_POLYGON": KEY}
        found = vendor_credentials("polygon", "TEAM_POLYGON", environ=environ)
        assert found["POLYGON_API_KEY"] == KEY
        assert found["POLYGON_KEY"] == KEY
        del environ["TEAM_POLYGON"]
        assert "POLYGON_API_KEY" not in found

    def test_a_usual_name_in_the_rules_changes_nothing(self) -> None:
        found = vendor_credentials(
            "twelvedata", "TWELVEDATA_API_KEY", environ={"TWELVE_DATA_API_KEY": KEY}
        )
        assert found["TWELVE_DATA_API_KEY"] == KEY

    def test_a_vendor_that_only_the_rules_know(self) -> None:
        found = vendor_credentials("acme", "ACME_KEY", environ={"ACME_KEY": KEY})
        assert dict(found) == {"ACME_KEY": KEY}

    def test_all_credentials_holds_the_keys_of_every_vendor(self) -> None:
        environ = {name: "x" for vendor in VENDORS for name in key_names(vendor)}
        assert set(environ) <= set(all_credentials(environ))


def test_credentials_are_a_mapping() -> None:
    assert Credentials({"A": ("A", "B")}, {"B": "x"}) == {"A": "x"}


def test_keys_that_no_text_may_show_are_those_of_this_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def known() -> set[str]:
        return set(known_keys().values())

    assert not {"first", "second", "third", "fourth"} & known()
    monkeypatch.setenv("POLYGON_API_KEY", "first")
    assert "first" in known()
    monkeypatch.setenv("POLYGON_API_KEY", "second")
    assert {"first", "second"} <= known(), "a key that was replaced counts as well"
    monkeypatch.setenv("OUR_OWN_NAME", "third")
    assert "third" not in known()
    note_variables("OUR_OWN_NAME")
    assert "third" in known()
    monkeypatch.delenv("OUR_OWN_NAME")
    note_key("fourth")
    assert {"first", "second", "third", "fourth"} <= known()
    assert known_keys() == known_keys()


def test_a_key_that_comes_while_the_others_are_looked_up_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Busy(dict[str, None]):
        """Holds one key more once it has been read twice: another thread was at work."""

        reads = 0

        def __iter__(self) -> Iterator[str]:
            self.reads += 1
            yield from tuple(self.keys())
            if self.reads == 2:
                self["late"] = None

    known_keys()  # what the environment holds is handed out now
    monkeypatch.setattr(credentials, "handed_out", Busy(dict.fromkeys(["early"])))
    assert "early" in known_keys().values()
    assert {"early", "late"} <= set(known_keys().values())
