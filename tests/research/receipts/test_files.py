"""The file of a receipt: what it tolerates, what it reports as changed, and what its digests are over."""

from __future__ import annotations

import hashlib
import math
import struct
from datetime import date
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.data_manager import DataManager
from src.data.errors import CorruptEntryError, FormatVersionError, QueryError
from src.data.research.receipts.compare import differences, in_toto
from src.data.research.receipts.digests import (
    Grid,
    Paid,
    actions_text,
    digests_of,
    grid_of,
    has_digest,
    months_of,
)
from src.data.research.receipts.lines import run_line
from src.data.research.receipts.receipt import Line, Receipt, digest_of, encoded, read_receipt
from src.data.research.receipts.verify import verify

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
BARS = f"bars AAPL 1d regular yahoo 2023-01-03..2023-03-31 rows 60 raw/3 {A} {B}"
MSFT = (
    f"bars MSFT 1h regular yahoo 2023-01-03T14:30Z..2023-02-01T20Z rows 99 exact raw/3 {A} {B} {A}"
)
ACTIONS = f"actions AAPL yahoo 2023-01-03..2023-04-01 splits 1 dividends 6 {A}"
LINES = (BARS, MSFT, ACTIONS, "terms yahoo not-read", f"calendar XNYS 2023..2023 {B}")


def receipt(*lines: str, run: str = "momentum") -> Receipt:
    """Return a receipt with these lines."""
    at = parse_iso("2023-04-01T12:00:00")
    return Receipt.of([run_line(run, at), *map(Line.of, lines or LINES)], bytes(8 * (3 + 2)))


def reread(data: bytes) -> Receipt:
    """Return the receipt in some bytes."""
    return Receipt.parse(data, "x.receipt")


def table(rows: list[tuple[float, ...]]) -> BarTable:
    """Return daily bars: open, high, low, close, volume."""
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return BarTable.of_columns(np.arange(len(rows)) * DAY_MS, columns)


@pytest.mark.parametrize(
    "changed",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b" ", b"  \t "),
        lambda data: data.replace(b"\n", b"\n\n") + b"\n \n",
        lambda data: data.replace(b"0.1.0", b"9.9.9"),
        lambda data: data.replace(b"not-read", b"personal-use read 2026-01-01 https://x"),
    ],
    ids=["crlf", "bom", "blanks", "empty lines", "other version", "other terms"],
)  # fmt: skip
def test_line_ends_blanks_version_and_terms_do_not_count(changed: object) -> None:
    made = receipt()
    again = reread(changed(str(made).encode()))  # type: ignore[operator]
    assert again.fault == "" and again.digest == made.digest


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("rows 60", "rows 61", "the digest `all` is not that of the lines"),
        (A, A[:-1], "not a line of `bars`"),
        (A, f"{A}0", "not a line of `bars`"),
        ("momentum at 2023", "momentum at 20x3", "run momentum: "),
        ("2023-01-03..2023-03-31", "2023-04-03..2023-03-31", "its ranges are not ascending"),
        ("calendar XNYS", "calendar", "not a line of `calendar`"),
        ("\nall", "\nsomething\nall", "the digest `all`"),
        ("momentum at 2023-04-01T12:00Z", "momentum at 2023-04-01T14:00+02:00", "the digest `all`"),
    ],
)
def test_a_changed_file_is_reported(old: str, new: str, fault: str, tmp_path: Path) -> None:
    rows = [" ".join(row.split()) for row in str(receipt()).splitlines()]
    text = "\n".join(rows).replace(old, new, 1)
    assert fault in reread(text.encode()).fault
    (tmp_path / "x").write_text(text)
    found = verify(tmp_path / "x", offline=True)
    assert (found.code, found.findings[0].state) == (2, "changed")


def test_a_cut_file_and_one_with_two_lines_of_a_series_are_reported() -> None:
    text = str(receipt())
    assert "one line `all`" in reread(text[: text.index("\nall")].encode()).fault
    twice = receipt(BARS, BARS.replace("rows 60", "rows 61"))
    assert twice.fault == "two lines for bars AAPL 1d regular yahoo"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"onetape-receipt\n", b"onetape-receipt 1\nrun x\x1b[31m at 2023Z\n", b"\xff\xfe",
        "onetape-receipt 1\nrun \u202ex at 2023Z\n".encode(), b"onetape-receipt 1\n" + b"x" * 10_000_001,
    ],
)  # fmt: skip
def test_what_is_not_a_receipt_is_exit_2(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(CorruptEntryError, match="is not a receipt"):
        reread(data)
    (tmp_path / "x").write_bytes(data)
    assert verify(tmp_path / "x", offline=True).code == 2


def test_a_later_version_and_an_unknown_kind_are_named_and_exit_3(tmp_path: Path) -> None:
    with pytest.raises(FormatVersionError, match="version 2 of the format"):
        reread(b"onetape-receipt 2\nrun x\n")
    with pytest.raises(FormatVersionError, match="version 999999999 of the format"):
        reread(b"onetape-receipt " + b"9" * 5000 + b"\nrun x\n")
    (tmp_path / "2").write_bytes(b"onetape-receipt 2\nrun x\n")
    assert verify(tmp_path / "2", offline=True).code == 3
    known = [Line.of("onetape-receipt 1"), run_line("x", 0), Line.of("options AAPL 2024 rows 3")]
    end = Line.of(f"all {digest_of(known)}")
    (tmp_path / "k").write_text("\n".join(line.text for line in [*known, end]))
    found = verify(tmp_path / "k", offline=True)
    assert found.code == 3
    assert [(one.state, one.line.kind) for one in found.findings] == [
        ("unread", "options"),
        ("same", "all"),
    ]


def test_a_receipt_of_nothing_and_gaps_without_bars_are_never_the_same(tmp_path: Path) -> None:
    empty = Receipt.of([run_line("x", 0), Line.of("terms yahoo not-read")])
    empty.write(tmp_path / "x")
    assert empty.fault == "it has no line of what was read"
    assert verify(tmp_path / "x", offline=True).code == 2
    receipt(f"gaps AAPL 1d regular 3 bars 1 spans {A}").write(tmp_path / "x")
    found = verify(tmp_path / "x", offline=True)
    assert (found.code, found.findings[0].state) == (3, "unread")


def test_ten_megabytes_are_read(tmp_path: Path) -> None:
    rows = [BARS.replace("AAPL", f"S{number}") for number in range(42_000)]
    made = receipt(*rows)
    data = str(made).encode()
    assert 8_000_000 < len(data) < 10_000_000
    assert reread(data).fault == ""


@pytest.mark.parametrize(
    "name, field", [("A B", "A%20B"), ("A\tB\n", "A%09B%0A"), ("\u00e9", "%C3%A9"), ("BRK-B", "BRK-B"),
                    ("^VIX", "^VIX"), ("50%", "50%25"), ("BTC/USDT", "BTC/USDT")]
)  # fmt: skip
def test_names_are_one_field(name: str, field: str) -> None:
    assert encoded(name) == field
    line = Line.of(f"calendar {field} 2023..2023 {A}")
    assert line.values["name"] == name


@pytest.mark.parametrize(
    "run", ["/srv/me/momentum", "C:\\me\\momentum", "~/x/momentum", "../momentum", "\\\\host\\momentum"]
)  # fmt: skip
def test_a_run_that_is_a_path_has_its_last_part_as_its_name(run: str) -> None:
    assert run_line(run, 0).text.startswith("run momentum at ")
    assert run_line("BTC/USDT 5m", 0).text.startswith("run BTC/USDT%205m at ")


# --- digests, by another way of computing them -------------------------------------------------


def by_hand(words: str, rows: list[tuple[int, ...]], text: str = "") -> str:
    """Return the digest of rows of integers, by struct."""
    data = b"".join(struct.pack(f"<{len(row)}q", *row) for row in rows)
    return (
        "sha256:"
        + hashlib.sha256(f"onetape-bars-1 {words}\n".encode() + data + text.encode()).hexdigest()
    )


CENTS = [(100.01, 101.5, 99.99, 101.0, 1000.0), (101.0, 103.27, 100.5, 103.0, 2000.0)] * 3


def test_prices_are_integers_on_the_grid() -> None:
    bars = table(CENTS)
    assert grid_of(bars) == Grid(3, False, False)
    rows = [
        (n * DAY_MS, *(round(price * 1000) for price in row[:4]), int(row[4]))
        for n, row in enumerate(CENTS)
    ]
    prices = [row[:5] for row in rows]
    expected = by_hand("raw/3", rows), by_hand("raw/3 prices", prices)
    assert digests_of(bars, grid_of(bars), None) == expected
    paid = [
        Paid(date(2024, 1, 5), "dividend", Fraction("0.24")),
        Paid(date(2023, 1, 5), "split", Fraction(3, 2)),
    ]
    text = "onetape-actions-1\n2023-01-05 split 3/2\n2024-01-05 dividend 2400\n"
    assert actions_text(paid).decode() == text
    expected = by_hand("raw/3", rows, text), by_hand("raw/3 prices", prices, text)
    assert digests_of(bars, grid_of(bars), paid) == expected


def test_prices_on_the_edge_of_a_cell_and_fractions_of_volumes_are_exact() -> None:
    def bits(value: float) -> int:
        """Return the bits of a double."""
        return int(struct.unpack("<q", struct.pack("<d", value))[0])

    coins = [
        (60000.05, 60010.0, 59990.0, 60001.15, 1.5),
        (60001.0, 60010.0, 59990.0, 60001.0, math.nan),
    ] * 3
    bars = table(coins)
    assert str(grid_of(bars)) == "exact raw/1 exact-volume"
    exact = [(n * DAY_MS, *map(bits, row)) for n, row in enumerate(coins)]
    grid = [
        (n * DAY_MS, *(math.floor(price * 10 + 0.5) for price in row[:4]), bits(row[4]))
        for n, row in enumerate(coins)
    ]
    prices = by_hand("raw/1 prices", [row[:5] for row in grid])
    expected = by_hand("exact", exact), by_hand("raw/1 exact-volume", grid), prices
    assert digests_of(bars, grid_of(bars), None) == expected


@pytest.mark.parametrize(
    "top, decimals",
    [(110.0, 3), (1.08, 5), (0.00001, 10), (540_000.0, -1), (3_000.0, 2), (0.0, 15)],
)
def test_half_a_cell_is_larger_than_eight_steps_of_float32(top: float, decimals: int) -> None:
    assert grid_of(table([(top, top, top, top, 1.0)])).decimals == decimals


def test_noise_of_float32_changes_no_digest_and_one_cent_does() -> None:
    chance, bars = np.random.default_rng(3), table(CENTS)
    first = digests_of(bars, grid_of(bars), None)
    for _ in range(50):
        noise = [
            column * (1 + 3e-7 * chance.uniform(-1, 1, len(column))) for column in bars.values()[:4]
        ]
        columns = [column.astype(np.float32).astype(np.float64) for column in noise]
        noisy = BarTable.of_columns(bars.stamps, [*columns, bars.volume])
        assert grid_of(noisy) == grid_of(bars)
        assert digests_of(noisy, grid_of(bars), None) == first
    cent = BarTable.of_columns(bars.stamps, [bars.open + 0.01, *bars.values()[1:5]])
    assert digests_of(cent, grid_of(bars), None) != first


# --- what can be found by trying ---------------------------------------------------------------


def test_what_could_be_found_by_trying_has_no_digest() -> None:
    """Five flat bars are found with a few hundred attempts, so they have none, nor has their month."""
    flat = table([(0.10, 0.11, 0.10, 0.11, 0.0)] * 5)
    grid = grid_of(flat)
    wanted, tries = digests_of(flat, grid, None), 0
    for low, high in product(range(1, 21), repeat=2):
        tries += 1
        row = (low / 100, high / 100, low / 100, high / 100, 0.0)
        if digests_of(table([row] * 5), grid, None) == wanted:
            break
    assert (low, high) == (10, 11) and tries < 400
    assert not has_digest(flat, grid)
    assert months_of(flat, grid) == [bytes(8)]
    assert not has_digest(table(CENTS[:4]), grid)


def test_five_bars_with_a_digest_have_at_least_128_bits_of_possibilities() -> None:
    """A million machines with 10^12 attempts a second each need more than ten million million years."""
    chance = np.random.default_rng(5)
    for spread in (5, 20, 60, 150, 170, 400):
        cells = 10_000 + chance.integers(0, spread, (5, 2))
        low, high = cells.min(axis=1), cells.max(axis=1)
        rows = [(a / 100, b / 100, a / 100, b / 100, 1e6) for a, b in zip(low, high, strict=True)]
        n = int(cells.max() - cells.min()) + 1
        # Counted one by one: open, high, low and close between the lowest and the highest price.
        ways = sum((n - k + 1) * k * k for k in range(1, n + 1))
        bars = table(rows)
        steps = np.gcd.reduce(cells.ravel() - cells.min())
        assert steps == 1
        assert has_digest(bars, grid_of(bars)) == (5 * math.log2(ways) >= 128)
    assert 2**128 / 1e12 / 1e6 / (365 * 86_400) > 1e13


# --- beside the file, differences, statements ---------------------------------------------------


def test_months_belong_to_one_receipt(tmp_path: Path) -> None:
    made = receipt()
    made.write(tmp_path / "x")
    again = read_receipt(tmp_path / "x")
    assert again.months_of_line(again.of_kind("bars")[0]).keys() == {
        "2023-01",
        "2023-02",
        "2023-03",
    }
    (tmp_path / "x.months").write_bytes((tmp_path / "x.months").read_bytes()[:-1])
    short = read_receipt(tmp_path / "x")
    assert short.months_of_line(short.of_kind("bars")[0]) == {}
    receipt(run="other").write(tmp_path / "y")
    (tmp_path / "x.months").write_bytes((tmp_path / "y.months").read_bytes())
    assert read_receipt(tmp_path / "x").months is None


def test_one_revised_bar_is_one_sentence() -> None:
    def with_month(second: bytes, digest: str) -> Receipt:
        """Return a receipt with one line of bars."""
        lines = [run_line("x", 0), Line.of(BARS.replace(f" {A}", f" {digest}")), Line.of(ACTIONS)]
        return Receipt.of(lines, b"1" * 8 + second + b"3" * 8)

    first, second = with_month(b"2" * 8, A), with_month(b"x" * 8, B)
    assert differences(first, second) == [
        "AAPL 1d, bars from yahoo: values differ in 2023-02, and all other months are equal."
    ]
    assert differences(first, first) == []
    later = Receipt.of([run_line("x", 0), Line.of(BARS)])
    more = Receipt((*later.lines[:-1], Line.of("options AAPL rows 3"), later.lines[-1]))
    assert differences(later, later) == []
    assert differences(later, more) == [
        "options AAPL rows 3: only in the second receipt; a kind of line of a later version."
    ]
    assert differences(receipt(BARS), receipt(ACTIONS)) == [
        "AAPL 1d, bars from yahoo: only in the first receipt.",
        "AAPL, splits and dividends from yahoo: only in the second receipt.",
    ]


def test_a_statement_is_about_the_bytes_of_the_file() -> None:
    made = receipt()
    data = str(made).encode()
    found = in_toto(made, "x.receipt", data)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    digest = {"sha256": hashlib.sha256(data).hexdigest()}
    assert found["subject"] == [{"name": "x.receipt", "digest": digest}]
    assert found["predicate"]["all"] == made.digest


def test_switches_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="fetch and offline"):
        verify(tmp_path / "x", fetch=True, offline=True, manager=DataManager(tmp_path))
