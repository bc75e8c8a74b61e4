"""Tests folder names: reversible, distinct on case-insensitive disks, and always inside the cache."""

from __future__ import annotations

import os
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.cache.layout import (
    Layout,
    decode_lane,
    decode_symbol,
    encode_lane,
    encode_symbol,
    year_of_name,
)  # fmt: skip
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadSymbolError, BadTimeframeError, QueryError, StorageError
from tests.core.cache.counts import FULL, examples

DAY = Timeframe(1, "d")
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{n}{i}" for n in ("COM", "LPT") for i in "0123456789")}


@pytest.mark.parametrize(
    "symbol, name",
    [
        ("AAPL", "AAPL"), ("BRK-B", "BRK-B"), ("BRK.B", "BRK.B"), ("ES=F", "ES=F"),
        ("X_Y", "X_Y"), ("^GSPC", "%5EGSPC"), ("BRK/B", "BRK%2FB"),
        ("BNB/USDT:USDT", "BNB%2FUSDT%3AUSDT"), ("aapl", "%61%61%70%6C"), ("..", "%2E%2E"),
        (".A", "%2EA"), ("A.", "A%2E"), ("_METADATA", "%5FMETADATA"), ("CON", "%43ON"),
        ("AUX.B", "%41UX.B"), ("COM1", "%43OM1"), ("COM¹", "COM%C2%B9"), ("CONS", "CONS"),
        ("50%", "50%25"), ("É", "%C3%89"), ("A B", "A%20B"), (" ", "%20"), ("A\\B", "A%5CB"),
        ("-", "-"),
    ],
)  # fmt: skip
def test_symbols_are_encoded_as_folder_names_and_decoded(symbol: str, name: str) -> None:
    assert encode_symbol(symbol) == name
    assert decode_symbol(name) == symbol


@pytest.mark.parametrize(
    "symbol, message",
    [
        ("", "empty"), ("A" * 65, "65 characters"), ("A\n", "contains"), ("A\x00", "contains"),
        ("\u202eA", "contains"), ("A\u200b", "contains"), ("\ud800", "contains"),
        ("A\u2028", "contains"), ("E\u0301", "composed"), ("日" * 60, "too long"),
    ],
)  # fmt: skip
def test_symbols_that_cannot_be_folder_names_are_refused(symbol: str, message: str) -> None:
    with pytest.raises(BadSymbolError, match=message):
        encode_symbol(symbol)


@pytest.mark.parametrize(
    "name", ["aapl", "%61pl", "A%2fB", "A%", "%FF", "%41APL", "_columnar", "", "\udcff\udcfe"]
)
def test_folder_names_that_we_do_not_write_decode_to_no_symbol(name: str) -> None:
    assert decode_symbol(name) is None


def hostile() -> list[str]:
    """Return thousands of strange symbols, always the same."""
    chance, count = random.Random(20240101), 10_000 if FULL else 3_000
    pieces = ["..", "/", "\\", "CON", "nul", "com1", ".", "%", "%2E", "~", "$HOME", "A", "a", "É",
              "é", "ß", "ẞ", "İ", "ı", "K", "Å", "½", ":", "*", "?", "|", "<", '"', "'", " ", "=",
              "\u0301", "\t", "\x7f", "\u200f", "日本", "😀", "-", "_", "^", "@", "#", "&"]  # fmt: skip
    made = ["".join(chance.choices(pieces, k=chance.randint(1, 8))) for _ in range(count)]
    letters = [chr(n) for n in range(1, 0x250)]
    return made + letters + [a + "." + a for a in RESERVED] + [a.lower() for a in RESERVED]


def test_hostile_symbols_get_separate_folders_inside_the_cache_and_are_decoded(
    tmp_path: Path,
) -> None:
    home = os.path.realpath(tmp_path / "ohlcv")
    layout = Layout(tmp_path)
    folders: dict[str, str] = {}
    for symbol in hostile():
        try:
            folder = layout.symbol(symbol)
        except BadSymbolError:
            continue
        assert os.path.dirname(os.path.normpath(folder)) == home
        name = folder.name
        assert name.isascii()
        assert name.upper() == name
        assert name[0] not in "._"
        assert not name.endswith((".", " "))
        assert name.split(".")[0].rstrip() not in RESERVED
        assert decode_symbol(name) == symbol
        folded = unicodedata.normalize("NFKC", name).casefold()
        assert folders.setdefault(folded, symbol) == symbol
    assert len(folders) > 1500


@settings(derandomize=True, max_examples=examples(300), deadline=None)
@given(st.text(min_size=1, max_size=12))
def test_any_text_is_decoded_unchanged_or_refused_as_a_symbol(symbol: str) -> None:
    try:
        name = encode_symbol(symbol)
    except BadSymbolError:
        return
    assert decode_symbol(name) == symbol
    assert "/" not in name
    assert os.sep not in name


@pytest.mark.parametrize(
    "key, name",
    [
        (SeriesKey("A", Timeframe(1, "M")), "1mo"),
        (SeriesKey("A", Timeframe(1, "m")), "1m"),
        (SeriesKey("A", DAY, ("raw",)), "1d@raw"),
        (SeriesKey("A", DAY, ("raw", "tiingo")), "1d@raw@tiingo"),
        (SeriesKey("A", DAY, ("GBp",)), "1d@%47%42p"),
        (SeriesKey("A", DAY, ("a@b/..",)), "1d@a%40b%2F%2E%2E"),
    ],
)
def test_series_keys_are_encoded_as_lane_folders_and_decoded(key: SeriesKey, name: str) -> None:
    assert encode_lane(key) == name
    assert decode_lane("A", name) == key


@pytest.mark.parametrize(
    "name",
    [
        "1M",
        "0d",
        "1x",
        "fundamentals",
        "1d@",
        "1d@RAW",
        "_legacy",
        "1d@%61",
        "1d@\udcff",
        "\udcffd",
    ],
)
def test_folder_names_that_are_not_lanes_decode_to_none(name: str) -> None:
    assert decode_lane("A", name) is None


def test_lanes_that_cannot_be_folder_names_are_refused() -> None:
    with pytest.raises(QueryError):
        encode_lane(SeriesKey("A", DAY, ("",)))
    with pytest.raises(QueryError):
        encode_lane(SeriesKey("A", DAY, ("É" * 50,)))
    with pytest.raises(BadTimeframeError):
        encode_lane(SeriesKey("A", Timeframe(0, "../d")))


def test_a_link_out_of_the_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache" / "ohlcv").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    layout = Layout(tmp_path / "cache")
    (layout.ohlcv / "AAPL").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="somewhere else"):
        layout.symbol("AAPL")
    with pytest.raises(StorageError, match="somewhere else"):
        layout.lane(SeriesKey("AAPL", DAY))
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    assert Layout(tmp_path / "link").symbol("MSFT").name == "MSFT"


def test_the_folder_of_a_series_is_found_once_it_exists(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    layout, key = Layout(tmp_path), SeriesKey("AAPL", DAY)
    for _ in range(2):
        assert (layout.lane(key).folder, layout.lane(key).is_there) == (
            layout.ohlcv / "AAPL" / "1d",
            False,
        )
        assert Path(layout.actions("AAPL")) == layout.ohlcv / "AAPL" / "actions.json"
    layout.ohlcv.mkdir()
    (layout.ohlcv / "AAPL").symlink_to(tmp_path / "elsewhere")
    for ask in (lambda: layout.lane(key).folder, lambda: layout.actions("AAPL")):
        with pytest.raises(StorageError, match="somewhere else"):
            ask()


@pytest.mark.parametrize(
    "name, year",
    [("2024.csv.gz", 2024), ("2024.metadata.json", 2024), ("0000.csv.gz", None), ("2024.log", None),
     ("2024.csv", None), (".2024.csv.gz.1.tmp", None), ("series.json", None)],
)  # fmt: skip
def test_the_year_is_read_from_the_name_of_a_year_file(name: str, year: int | None) -> None:
    assert year_of_name(name) == year
