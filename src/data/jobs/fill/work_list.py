"""The list of series that a job works on, read from a file: text, CSV or YAML."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.config.yaml_text import read_yaml
from ...core.model.identity.kind import AskedSession
from ...errors import QueryError

# Maximum size of a list. Ten thousand series take a few hundred kilobytes, whereas the content of a
# device may never end.
_MOST_BYTES = 10_000_000
COLUMNS = ("symbol", "timeframe", "from", "priority")
_SYMBOL_HEADERS = ("symbol", "symbols", "ticker", "tickers")
_HINT = "one symbol per line, or CSV or YAML with " + ", ".join(COLUMNS)
# Rows without a priority come after all rows with a priority.
NO_PRIORITY = sys.maxsize


@dataclass(frozen=True)
class WorkItem:
    """One row of a work list.

    Attributes:
        symbol: Symbol as written in the list; if the row has no symbol, the row's position.
        timeframe: Timeframe; empty means the job's timeframes.
        start: Start of the range; empty means the job's start.
        priority: Priority; smaller numbers come first.
        problem: Reason why the row cannot be processed; empty if it can.
        session: Session hours of the bars; None means the job's hours. A list cannot specify
            session hours.
        lists: Names of the lists that the row is from: the path of a file, or ``universe NAME``.
    """

    symbol: str
    timeframe: str = ""
    start: str = ""
    priority: int = NO_PRIORITY
    problem: str = ""
    session: AskedSession | None = None
    lists: tuple[str, ...] = ()


def read_work_list(source: str | Path) -> list[WorkItem]:
    """Read a work list and return its rows, in order; ``-`` means standard input.

    A text file has one symbol per line. A CSV file has the columns ``symbol, timeframe, from,
    priority``, in this order or in the order of its header. A YAML file has a list of symbols, or
    of mappings with these keys, at the top level or under ``series``. Comments start with ``#``. An
    invalid row is returned with its ``problem``.

    Raises:
        QueryError: The list cannot be read, is not text, has unknown columns, or does not name any
            series.
    """
    title = "the list from standard input" if source == "-" else f"the list {source}"
    try:
        if source == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise QueryError(f"{title} is not UTF-8 text", hint=_HINT) from exc
    except (OSError, ValueError) as exc:  # a name with a null byte is a ValueError
        reason = getattr(exc, "strerror", None) or exc
        raise QueryError(f"{title} cannot be read: {reason}") from exc
    if len(data) > _MOST_BYTES:
        raise QueryError(f"{title} is too large; the limit is {_MOST_BYTES:,} bytes")
    lines = [
        (number, bare)
        for number, line in enumerate(text.splitlines(), 1)
        if (bare := line.partition("#")[0].strip()) not in ("", "---")
    ]
    first = lines[0][1] if lines else ""
    if first == "-" or first.startswith(("- ", "series:", "symbols:")):
        # A list may be at the top level, where a rules file has keys.
        body = text.removeprefix("---")
        rows = _yaml_items(f"series:\n{body}" if first[0] == "-" else body, title)
    else:
        rows = _csv_items(lines, title)
    items = list(rows)
    if not items:
        raise QueryError(f"{title} contains no series", hint=_HINT)
    return items


def _csv_items(lines: list[tuple[int, str]], title: str) -> Iterator[WorkItem]:
    names: tuple[str, ...] = COLUMNS
    for row, (number, line) in enumerate(lines):
        try:
            cells = [cell.strip() for cell in next(csv.reader([line]))]
        except csv.Error as error:  # such as a field of more than 128 KiB
            yield WorkItem(f"line {number}", problem=f"line {number} cannot be read: {error}")
            continue
        if row == 0 and cells[0].lower() in _SYMBOL_HEADERS:
            names = ("symbol", *(cell.lower() for cell in cells[1:]))
            _check_names(names, title)
            continue
        if not any(cells):  # left over from a deleted row in a spreadsheet
            continue
        if len(cells) > len(names):
            problem = (
                f"line {number} has too many columns: {len(cells)}; at most {len(names)} are "
                "accepted"
            )
            yield WorkItem(cells[0] or f"line {number}", problem=problem)
            continue
        yield _item(dict(zip(names, cells, strict=False)), f"line {number}")


def _yaml_items(text: str, title: str) -> Iterator[WorkItem]:
    document = read_yaml(text.encode())
    if document.problems:
        raise QueryError(f"{title} cannot be read as YAML: {document.problems[0].what}", hint=_HINT)
    for key, rows in document.value.items():
        if key not in ("series", "symbols") or not isinstance(rows, list):
            raise QueryError(
                f"{title} has an unknown key {key!r}; only a list named `series` is accepted",
                hint=_HINT,
            )
        for number, row in enumerate(rows, 1):
            if isinstance(row, Mapping):
                _check_names(tuple(map(str, row)), title)
                yield _item({str(name): value for name, value in row.items()}, f"entry {number}")
            else:
                yield _item({"symbol": row}, f"entry {number}")


def _check_names(names: tuple[str, ...], title: str) -> None:
    for name in names:
        if name not in COLUMNS:
            columns = ", ".join(COLUMNS)
            raise QueryError(
                f"{title} has an unknown column: {name!r:.40}",
                hint=f"the accepted columns are {columns}",
            )


def _item(row: Mapping[str, Any], where: str) -> WorkItem:
    """Convert a row of a list to an item; numbers parsed from YAML become strings again."""
    cells = {name: "" if value is None else str(value).strip() for name, value in row.items()}
    symbol, priority = cells.get("symbol", ""), cells.get("priority", "")
    problem, number = "", NO_PRIORITY
    if not symbol:
        problem = f"{where} has no symbol"
    try:
        number = int(priority) if priority else NO_PRIORITY
    except ValueError:
        problem = problem or f"{where}: the priority is not an integer: {priority!r:.40}"
    return WorkItem(
        symbol or where, cells.get("timeframe", ""), cells.get("from", ""), number, problem
    )
