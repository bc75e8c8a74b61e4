"""Tests that every float is read back with the same bits."""

from __future__ import annotations

import csv
import io
import math
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.cache.format import csv_rows
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import SECOND_MS, year_start
from tests.core.cache.bars import same
from tests.core.cache.counts import examples

HARD = [
    0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1 / 3,
    123456789.123456789, 1e22, 1e23, 9007199254740993.0, 0.30000000000000004, 1e-7, 1e16, 1e15,
    math.nan, 150.10000000000002, 64.99999999999999,
]  # fmt: skip
floats = st.floats(allow_infinity=False, allow_nan=False) | st.sampled_from(HARD)


def table_of(values: list[float], *, adj: bool) -> BarTable:
    """Return bars that hold ``values`` in every column, rotated."""
    column = [np.array(values[i:] + values[:i], dtype=np.float64) for i in range(6)]
    stamps = np.arange(len(values), dtype=np.int64) * 37 * SECOND_MS + year_start(2024)
    return BarTable(stamps, *column[:5], column[5] if adj else None)


def round_trip(table: BarTable) -> BarTable:
    text = csv_rows.encode_rows(table, table.columns)
    return csv_rows.decode_rows(memoryview(text), table.columns, len(table))


@pytest.mark.parametrize("adj", [False, True])
def test_edge_case_floats_survive_the_csv_round_trip(adj: bool) -> None:
    assert same(round_trip(table_of(HARD, adj=adj)), table_of(HARD, adj=adj))


@settings(derandomize=True, max_examples=examples(150), deadline=None)
@given(st.lists(floats, min_size=6, max_size=30), st.booleans())
def test_any_floats_survive_the_csv_round_trip(values: list[float], adj: bool) -> None:
    assert same(round_trip(table_of(values, adj=adj)), table_of(values, adj=adj))


@settings(derandomize=True, max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=20))
def test_floats_of_any_bit_pattern_survive_the_csv_round_trip(bits: list[int]) -> None:
    values = [struct.unpack("<d", struct.pack("<Q", b))[0] for b in bits]
    values = [v if math.isfinite(v) else 1.5 for v in values]
    assert same(round_trip(table_of(values, adj=True)), table_of(values, adj=True))


def test_numbers_are_written_in_plain_decimal_text() -> None:
    table = table_of([1.0, 0.1, math.nan, 1e-07, -0.0, 12345.678], adj=True)
    lines = csv_rows.encode_rows(table, csv_rows.ALL_COLUMNS).decode("ascii").splitlines()
    assert lines[0] == "2024-01-01 00:00:00,1.0,0.1,,1e-07,-0.0,12345.678"
    assert lines[1] == "2024-01-01 00:00:37,0.1,,1e-07,-0.0,12345.678,1.0"
    assert csv_rows.header_line(csv_rows.ALL_COLUMNS) == (
        b"timestamp,open,high,low,close,volume,adj_close\n"
    )


def test_a_column_that_bars_lack_is_empty() -> None:
    table = table_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], adj=False)
    text = csv_rows.encode_rows(table, csv_rows.ALL_COLUMNS)
    assert all(line.endswith(b",") for line in text.splitlines())
    adj = csv_rows.decode_rows(memoryview(text), csv_rows.ALL_COLUMNS, 6).adj_close
    assert adj is not None
    assert np.isnan(adj).all()


def test_timestamps_before_1970_and_at_both_limits_survive_the_csv_round_trip() -> None:
    stamps = np.array([year_start(1900), -SECOND_MS, 0, year_start(2100) - SECOND_MS])
    table = BarTable(stamps, *(np.ones(4) for _ in range(5)))
    assert round_trip(table).stamps.tolist() == stamps.tolist()


@pytest.mark.parametrize("way", ["by hand", "by hand in blocks", "pyarrow"])
def test_long_tables_survive_the_csv_round_trip_by_every_encoder(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "pyarrow":
        pytest.importorskip("pyarrow")
        monkeypatch.setattr(csv_rows, "ROWS_WORTH_AN_IMPORT", 100)
    if way == "by hand in blocks":
        monkeypatch.setattr(csv_rows, "BLOCK_ROWS", 100)
    chance = np.random.default_rng(7)
    bits = chance.integers(0, 2**63, size=2000, dtype=np.int64).view(np.float64)
    values = [*np.where(np.isfinite(bits), bits, 0.1).tolist(), *HARD]
    assert same(round_trip(table_of(values, adj=True)), table_of(values, adj=True))


def test_a_month_of_minutes_is_read_within_a_few_times_its_text() -> None:
    dice = np.random.default_rng(1)
    values = (dice.integers(1, 10**6, 20_000) / 100).tolist()
    text = csv_rows.encode_rows(table_of(values, adj=False), csv_rows.BASE_COLUMNS)
    tracemalloc.start()
    try:
        csv_rows.decode_rows(memoryview(text), csv_rows.BASE_COLUMNS, len(values))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * len(text)


def test_an_empty_table_is_written_as_no_text() -> None:
    assert csv_rows.encode_rows(BarTable.empty(), csv_rows.BASE_COLUMNS) == b""
    assert len(csv_rows.decode_rows(memoryview(b""), csv_rows.BASE_COLUMNS, 0)) == 0


def test_an_infinite_value_is_not_written() -> None:
    for bad in (math.inf, -math.inf):
        with pytest.raises(ValueError, match="infinite"):
            csv_rows.encode_rows(table_of([bad] * 6, adj=False), csv_rows.BASE_COLUMNS)


def at_seconds(*seconds: np.datetime64) -> BarTable:
    stamps = np.array([moment.astype("M8[ms]").astype(np.int64) for moment in seconds])
    return BarTable(stamps, *(np.ones(len(stamps)) for _ in range(5)))


def test_years_of_four_digits_can_be_written_and_no_others() -> None:
    first, last = np.datetime64("1000-01-01T00:00:00"), np.datetime64("9999-12-31T23:59:59")
    bars = at_seconds(first, last)
    assert round_trip(bars).stamps.tolist() == bars.stamps.tolist()
    for bad in (at_seconds(first - 1, last), at_seconds(first, last + 1)):
        with pytest.raises(ValueError, match="no plain text form"):
            csv_rows.encode_rows(bad, csv_rows.BASE_COLUMNS)


ROW = b"2024-01-01 00:00:00,1.0,1.0,1.0,1.0,1.0\n"


@pytest.mark.parametrize(
    "text, rows",
    [(ROW, 2), (ROW * 2, 1), (ROW[:-1], 1), (b"", 1), (ROW.replace(b",1.0", b"", 1), 1),
     (ROW.replace(b"1.0", b"1.x", 1), 1), (ROW.replace(b"2024-01", b"2024-13"), 1),
     (ROW.replace(b"1.0", b"\xc2\xb9", 1), 1), (ROW + b"\n", 1),
     (ROW.replace(b"1.0", b'"1.0"', 1), 1), (ROW.replace(b"\n", b",2.0\n"), 1), (ROW, 0),
     (ROW.replace(b",1.0\n", b"\n1.0x"), 1), (ROW + ROW.replace(b"2024-01-01 00:00:00", b""), 2)],
)  # fmt: skip
@pytest.mark.parametrize("way", ["by hand", "pyarrow"])
def test_text_that_another_program_wrote_is_not_decoded(
    text: bytes, rows: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "pyarrow":
        pytest.importorskip("pyarrow")
        monkeypatch.setattr(csv_rows, "ROWS_WORTH_AN_IMPORT", 0)
    with pytest.raises(ValueError):
        csv_rows.decode_rows(memoryview(text), csv_rows.BASE_COLUMNS, rows)


def test_long_tables_are_read_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "ROWS_WORTH_AN_IMPORT", 0)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert same(round_trip(table_of(HARD, adj=True)), table_of(HARD, adj=True))


@pytest.mark.parametrize("way", ["by hand", "pyarrow"])
def test_decoded_columns_are_writeable(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "pyarrow":
        pytest.importorskip("pyarrow")
        monkeypatch.setattr(csv_rows, "ROWS_WORTH_AN_IMPORT", 0)
    bars = round_trip(table_of([1.0] * 6, adj=True))
    assert all(column.flags.writeable for column in (bars.stamps, *bars.values()))


def test_pythons_csv_reader_reads_the_encoded_rows() -> None:
    table = table_of(HARD, adj=True)
    text = csv_rows.header_line(table.columns) + csv_rows.encode_rows(table, table.columns)
    rows = list(csv.DictReader(io.StringIO(text.decode("ascii"))))
    closes = np.array([float(row["close"] or "nan") for row in rows])
    assert closes.tobytes() == table.close.tobytes()
    assert rows[1]["timestamp"] == "2024-01-01 00:00:37"


def plainly(rows: BarTable) -> bytes:
    """Encode rows by the documented format, number by number."""
    lines = []
    for i, stamp in enumerate(rows.stamps.tolist()):
        time = str(np.datetime64(stamp, "ms").astype("M8[s]")).replace("T", " ")
        cells = ["" if v != v else repr(v) for v in (c.tolist()[i] for c in rows.values())]
        lines.append(",".join([time, *cells]))
    return ("\n".join(lines) + "\n").encode("ascii")


def of_columns(columns: list[list[float]]) -> BarTable:
    stamps = 1_700_000_000_000 // 1000 * 1000 + np.arange(len(columns[0]), dtype=np.int64) * 7000
    return BarTable.of_columns(stamps, [np.array(c, dtype=np.float64) for c in columns])


FEW_DECIMALS = st.builds(lambda k, d: k / 10**d, st.integers(-(10**15), 10**15), st.integers(0, 10))
ODD = st.sampled_from([
    0.0, -0.0, 1e-5, 5e-324, 1e15, 1e16, 123456789012345.6, 0.1 + 0.2, 1 / 3, 9.999999999999999e-5, 1e-4,
    300.3500061035156, 999999999999999.9, float("nan"), 2.0**53, -37.63, 1.7976931348623157e308,
])  # fmt: skip


@given(
    st.lists(
        st.lists(FEW_DECIMALS | ODD | st.floats(allow_infinity=False), min_size=80, max_size=80),
        min_size=5, max_size=5,
    )
)  # fmt: skip
@settings(max_examples=examples(40), deadline=None, derandomize=True)
def test_blocks_of_any_numbers_equal_numbers_encoded_one_by_one(columns: list[list[float]]) -> None:
    rows = of_columns(columns)
    assert csv_rows.encode_rows(rows, csv_rows.BASE_COLUMNS) == plainly(rows)


@pytest.mark.parametrize("seed", range(12))
def test_blocks_of_market_numbers_equal_numbers_encoded_one_by_one(seed: int) -> None:
    dice = np.random.default_rng(seed)
    size = 10.0 ** dice.integers(-3, 12)
    prices = [
        np.round(size * (1 + dice.normal(0, 0.01, 400)), dice.integers(0, 9)) for _ in range(4)
    ]
    volumes = np.round(dice.exponential(10.0 ** dice.integers(-4, 6), 400), dice.integers(0, 9))
    for column in (*prices, volumes):
        for place in dice.integers(0, 400, dice.integers(0, 12)):
            column[place] = dice.choice([np.nan, 0.0, -0.0, 1e-7, 0.1 + 0.2, -column[place]])
    rows = of_columns([*map(np.ndarray.tolist, prices), volumes.tolist()])
    text = csv_rows.encode_rows(rows, csv_rows.BASE_COLUMNS)
    assert text == plainly(rows)
    back = csv_rows.decode_rows(memoryview(text), csv_rows.BASE_COLUMNS, 400)
    assert [c.tobytes() for c in back.values()[:1]] == [c.tobytes() for c in rows.values()[:1]]


@pytest.mark.parametrize(
    "largest", [999_999_999.5, 4_294_967_295.5, 4_294_967_296.5, 9_999_999_999.5]
)
def test_numbers_beyond_32_bits_are_written_in_full(largest: float) -> None:
    rows = of_columns([[largest - place for place in range(80)]] * 5)
    assert csv_rows.encode_rows(rows, csv_rows.BASE_COLUMNS) == plainly(rows)
