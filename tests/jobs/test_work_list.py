"""Work lists: rows with timeframe, start and priority, and mistakes in single rows."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from src.data.errors import QueryError
from src.data.jobs.fill.work_list import NO_PRIORITY, WorkItem, read_work_list


def read(tmp_path: Path, text: str | bytes, name: str = "list.txt") -> list[WorkItem]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_work_list(path)


@pytest.mark.parametrize(
    "text",
    [
        "AAPL\nBRK.B\n",
        "\ufeff# mine\r\n\r\nAAPL  # a comment\r\n  BRK.B\r\n\r\n",
        "symbol\nAAPL\nBRK.B",
        "Ticker, timeframe\nAAPL,\nBRK.B",
        "- AAPL\n- BRK.B\n",
        "---\n# mine\n- AAPL\n- BRK.B\n",
        "series:\n  - AAPL\n  - symbol: BRK.B\n",
        "symbols: [AAPL, BRK.B]\n",
        '"AAPL"\n"BRK.B"',
    ],
)
def test_a_work_list_of_symbols_only_is_read(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text) == [WorkItem("AAPL"), WorkItem("BRK.B")]


@pytest.mark.parametrize(
    "text",
    [
        "AAPL,1d,2020-01-01,3\nBTCUSDT,,-30d,\n",
        "priority,symbol,from,timeframe\n".replace("priority,symbol", "symbol,priority")
        + "AAPL,3,2020-01-01,1d\nBTCUSDT,,-30d,\n",
        "- {symbol: AAPL, timeframe: 1d, from: 2020-01-01, priority: 3}\n"
        "- symbol: BTCUSDT\n  from: -30d\n",
    ],
)
def test_a_work_list_row_may_have_timeframe_start_and_priority(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text) == [
        WorkItem("AAPL", "1d", "2020-01-01", 3),
        WorkItem("BTCUSDT", "", "-30d", NO_PRIORITY),
    ]


def test_a_work_list_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"AAPL\n")))
    assert read_work_list("-") == [WorkItem("AAPL")]


@pytest.mark.parametrize(
    "text, place",
    [
        ("AAPL,1d,,high\nMSFT", "line 1: the priority is not an integer: 'high'"),
        ("AAPL\n# one\n,1d\nMSFT", "line 3 has no symbol"),
        ("AAPL\n,,,,,,\n,\n,1d\nMSFT", "line 4 has no symbol"),
        ("AAPL,1d,2020,1,more\nMSFT", "line 1 has too many columns: 5; at most 4 are accepted"),
        ("- {symbol: , timeframe: 1d}\n- MSFT", "entry 1 has no symbol"),
    ],
)
def test_a_row_with_a_mistake_affects_only_that_row(text: str, place: str, tmp_path: Path) -> None:
    items = read(tmp_path, text)
    assert [item.problem for item in items if item.problem] == [place]
    assert all(item.symbol for item in items), "a row without a symbol is named by its line"
    assert items[-1] == WorkItem("MSFT")


@pytest.mark.parametrize(
    "text, said",
    [
        ("symbol,tiemframe\nAAPL,1d", "unknown column: 'tiemframe'"),
        ("- {symbol: AAPL, since: 2020}", "unknown column: 'since'"),
        ("- [AAPL", "cannot be read as YAML"),
        ("series: AAPL", "; only a list named `series` is accepted"),
        ("symbols: [AAPL]\nfrom: 2020", "has an unknown key 'from'"),
        ("", "contains no series"),
        ("# nothing\n\n", "contains no series"),
        (b"\xff\xfe\x00A", "is not UTF-8 text"),
        ("A\n" * 5_000_001, "the limit is 10,000,000 bytes"),
    ],
)
def test_an_invalid_work_list_is_refused(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"the list .*list\.txt") as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.csv", "", "a\0b", "."])
def test_a_missing_work_list_file_raises_a_query_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="cannot be read"):
        read_work_list(f"{tmp_path}/{name}")


def test_a_work_list_of_ten_thousand_rows_is_read(tmp_path: Path) -> None:
    items = read(tmp_path, "".join(f"S{n}USDT,1d\r\n" for n in range(10_000)))
    assert len(items) == 10_000 and items[-1] == WorkItem("S9999USDT", "1d")


def test_a_field_that_is_too_long_is_a_mistake_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"AAPL\n{'A' * 131_073},1d\nMSFT\n")
    good, long, last = read_work_list(path)
    assert (good.symbol, last.symbol, long.symbol) == ("AAPL", "MSFT", "line 2")
    assert long.problem.startswith("line 2 cannot be read: field larger") and not last.problem
