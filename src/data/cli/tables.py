"""Tables and numbers that stay readable in a terminal of any width."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..core.model.display.texts import counted as counted
from ..core.model.display.texts import moment as moment
from ..core.model.stored.reasons import sentence

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.segment import Segment
    from rich.table import Table
    from rich.text import Text

Cell = Any
_GAP = 2
_WHOLE_NUMBERS_DO = 1e6
_MOST_DECIMALS, _MOST_DIGITS = 18, 15
_NAME_WIDTH = 20
# Longest reason in a report, in characters.
_LONGEST = 300


def styled(text: str, style: str) -> Text:
    """Return text as a table cell in the given style."""
    from rich.text import Text

    return Text(text, style=style)


def titled(name: str, text: str, style: str = "") -> Text:
    """Return a line with a name, followed by text in the given style."""
    from rich.text import Text

    return Text.assemble((name, "bold"), "  ", (text, style))


class TextTable:
    """A table that leaves out columns if the terminal is too narrow for them.

    Args:
        columns: Names of the columns. A ``#`` at the end marks a column of numbers, which are
            right-aligned; a ``?`` after that marks a column that may be left out. The last such
            column is left out first.
        rows: Cells, as plain or styled text.
        title: Title above the table, or an empty string.
    """

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = ""
    ) -> None:
        self.title = title
        self._names = [name.rstrip("#?") for name in columns]
        self._is_number = [name.rstrip("?").endswith("#") for name in columns]
        self._optional = [index for index, name in enumerate(columns) if name.endswith("?")]
        self._rows = [[_plain_or_text(cell) for cell in row] for row in rows]
        self._widths = [
            max(map(_width, [name, *(row[index] for row in self._rows)]))
            for index, name in enumerate(self._names)
        ]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, and the table with those columns that fit."""
        from rich.text import Text

        columns = self.fitting(options.max_width)
        if self.title:
            yield styled(self.title, "bold")
        cells = (cell for row in self._rows for cell in row)
        is_plain = self._total_width(columns) <= options.max_width and not any(
            isinstance(c, Text) for c in cells
        )
        yield from self._lines(columns) if is_plain else [self._table(columns)]
        left_out = [name for index, name in enumerate(self._names) if index not in columns]
        if left_out:
            yield styled(f"not enough room for: {', '.join(left_out)}", "dim")

    def fitting(self, width: int) -> list[int]:
        """Return the indices of the columns that fit into ``width`` characters."""
        columns = list(range(len(self._names)))
        for index in reversed(self._optional):
            if self._total_width(columns) <= width:
                break
            columns.remove(index)
        return columns

    def _total_width(self, columns: Sequence[int]) -> int:
        return sum(self._widths[index] for index in columns) + _GAP * (len(columns) - 1)

    def _lines(self, columns: Sequence[int]) -> Iterator[Segment]:
        """Yield the table's lines; rich's own table is not used, as it takes half a millisecond per row."""
        from rich.segment import Segment
        from rich.style import Style

        aligned = [(p, self._widths[p], self._is_number[p]) for p in columns]
        rows: list[Sequence[Any]] = [self._names, *self._rows]
        texts = (
            [row[p].rjust(width) if number else row[p].ljust(width) for p, width, number in aligned]
            for row in rows
        )
        head, *lines = ((" " * _GAP).join(row) for row in texts)
        for text in (head, "─" * len(head)):
            yield Segment(f"{text}\n", Style(dim=True))
        yield from (Segment(f"{line}\n") for line in lines)

    def _table(self, columns: Sequence[int]) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(
            # The box adds one more blank between two columns.
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, _GAP - 1, 0, 0),
            header_style="dim",
            border_style="dim",
        )
        for index in columns:
            side: Any = "right" if self._is_number[index] else "left"
            table.add_column(self._names[index], justify=side, overflow="fold")
        for row in self._rows:
            table.add_row(*(row[index] for index in columns))
        return table


def _plain_or_text(cell: Cell) -> str | Text:
    """Return a cell as a string if it is one line of single-width characters, else as ``Text``."""
    text = str(cell) if isinstance(cell, str | int) else cell
    return text if isinstance(text, str) and text.isascii() and text.isprintable() else _text(text)


def _width(cell: str | Text) -> int:
    """Return the width in columns of a cell's longest line."""
    if isinstance(cell, str):
        return len(cell)
    return max(line.cell_len for line in cell.split() or [cell])


def _text(cell: Cell) -> Text:
    from rich.text import Text

    return cell if isinstance(cell, Text) else Text(str(cell))


# --- records, whose keys are the columns

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT")
# Columns of reasons, some of which are codes.
_REASONS = ("reason", "reasons")
_NOTHING: tuple[Any, ...] = (None, "", [], (), {})
# Styles of values that mean the same in every column.
_STYLES = {
    "ok": "green",
    "failed": "red",
    "incomplete": "yellow",
    "complete": "green",
    "ready": "green",
}
_COLUMN_STYLES = {"problem": "red", "error": "red", "outcome": "yellow"}


def plain(record: Any) -> dict[str, Any]:
    """Return a record as a dictionary: what it converts itself to, or its fields."""
    if isinstance(record, Mapping):
        return dict(record)
    for method in ("as_dict", "to_json", "_asdict"):
        if hasattr(record, method):
            return dict(getattr(record, method)())
    return asdict(record)


def table(
    rows: Iterable[Any], columns: str, title: str = "", styles: Mapping[str, str] | None = None
) -> TextTable:
    """Return a table of records; each column shows the value of the key of the same name.

    Args:
        rows: Mappings, or records that :func:`plain` converts to such.
        columns: Names of the columns, separated by spaces, marked as for :class:`TextTable`. A
            column with ``?`` is also left out if it is empty, zero or false in all rows, and one
            with ``!`` only then.
        title: Title above the table, or an empty string.
        styles: Maps values to styles, in addition to those that mean the same everywhere.
    """
    records = [plain(row) for row in rows]
    names = [name.rstrip("#?!") for name in columns.split()]
    is_shown = [
        column[-1] not in "?!" or any(row.get(name) for row in records)
        for column, name in zip(columns.split(), names, strict=True)
    ]
    heads = [c for c, shown in zip(columns.split(), is_shown, strict=True) if shown]
    kept = [(head.rstrip("#?!"), "#" in head) for head in heads]
    palette = _STYLES | dict(styles or {})
    cells = [
        [_styled_cell(name, text_of(row.get(name), name, number), palette) for name, number in kept]
        for row in records
    ]
    return TextTable(
        [head.rstrip("!").replace("percent", "%").replace("_", " ") for head in heads], cells, title
    )


def _styled_cell(name: str, text: str, palette: Mapping[str, str]) -> Cell:
    style = palette.get(text) or (_COLUMN_STYLES.get(name) if text != "-" else None)
    return styled(text, style) if style else text


def text_of(value: Any, name: str = "", is_number: bool = False) -> str:
    """Return a value as text: times and reasons in words, lists joined, and bytes as a size.

    Args:
        value: JSON-serializable value.
        name: Key of the value; ``bytes`` and ``percent`` at its end mean a size and a percentage.
        is_number: Whether digits are grouped.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if name.endswith("bytes"):
            return size(value)
        if name.endswith("percent"):
            return f"{value:+.2f}"
        whole = f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
        return whole if is_number else whole.replace(",", "")
    if isinstance(value, str) and value:
        text = sentence(value) if name in _REASONS else value
        return moment(value.partition(".")[0]) if _STAMP.match(value) else text
    if isinstance(value, Mapping) and value:
        return ", ".join(f"{text_of(count)} {text_of(k, name)}" for k, count in value.items())
    if isinstance(value, list | tuple) and value:
        return ", ".join(map(text_of, value))
    return "-" if value in _NOTHING else str(value)


def fields(record: Any, names: str = "", styles: Mapping[str, str] | None = None) -> Table:
    """Return a record as lines of a name and a value; ``names`` selects and orders the keys."""
    values = plain(record)
    lines = [
        (name.replace("_", " "), text_of(values[name], name, is_number=True))
        for name in names.split() or values
        if values.get(name) not in _NOTHING
    ]
    return facts(lines, styles or {})


def findings(rows: Sequence[tuple[Cell, str, Sequence[Cell]]], name_width: int = 0) -> Table:
    """Return a table whose lines have a mark, a name and, next to the name, stacked and wrapped texts.

    ``name_width`` is the minimum width of the names, used to align the texts of several tables.
    """
    from rich.console import Group
    from rich.table import Table

    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column()
    grid.add_column(min_width=name_width, max_width=_NAME_WIDTH, overflow="fold")
    grid.add_column(overflow="fold")
    for mark, name, texts in rows:
        grid.add_row(_text(mark), _text(name), Group(*map(_text, texts)))
    return grid


def aligned(values: Sequence[float]) -> list[str]:
    """Format the numbers in a column with the same number of decimals, as few as necessary.

    A number other than 0 keeps two significant digits, unless the largest one is a million or more,
    or the column would need more than 15 digits, which is as many as a float has, or 18 decimals.
    """
    finite = [v for v in values if math.isfinite(v)]
    sizes = [abs(v) for v in finite if v]
    decimals = 0
    if sizes and max(sizes) < _WHOLE_NUMBERS_DO:
        largest, smallest = (math.floor(math.log10(size)) for size in (max(sizes), min(sizes)))
        decimals = min(
            max(4 - largest, 2, 1 - smallest), _MOST_DIGITS - 1 - largest, _MOST_DECIMALS
        )
    spare = min((_trailing_zeros(f"{v:.{decimals}f}") for v in finite), default=0)
    return [f"{v:,.{decimals - spare}f}" if math.isfinite(v) else "-" for v in values]


def _trailing_zeros(text: str) -> int:
    return len(text) - len(text.rstrip("0")) if "." in text else 0


def percent(share: float, decimals: int = 0) -> str:
    """Format a fraction as a percentage, rounded down, so that 100% is all of it."""
    parts = 10**decimals
    return f"{math.floor(round(share * 100 * parts, 9)) / parts:.{decimals}f}%"


def milliseconds(seconds: float) -> str:
    """Format a duration in milliseconds, with two decimals below 10 ms."""
    ms = seconds * 1000
    return f"{ms:,.2f} ms" if ms < 10 else f"{ms:,.0f} ms"


def size(count: float) -> str:
    """Format a number of bytes for display; a KB is 1,024 bytes, as for the cache's size limit."""
    for unit in ("B", "KB", "MB"):
        if abs(count) < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.2f} GB"


def shortened(text: str) -> str:
    """Shorten a reason to fit on one line of a report, by omitting words from the middle."""
    if len(text) <= _LONGEST:
        return text
    # The beginning names the subject, and the end says what to do about it.
    head, tail = text[: _LONGEST * 3 // 5], text[-_LONGEST * 2 // 5 :]
    return f"{head.rpartition(' ')[0]} … {tail.partition(' ')[2]}"


# --- facts in a plan or an explanation: a name with text next to it


def facts(lines: Iterable[tuple[str, str]], styles: Mapping[str, str]) -> Table:
    """Return a table of names and strings; several strings for one name are stacked.

    Args:
        lines: Names and strings; an empty name continues the previous one.
        styles: Maps a name to the style of its strings, if any.
    """
    rows: list[tuple[str, str, list[Text]]] = []
    for name, text in lines:
        line = styled(text, styles.get(name, ""))
        if rows and name in ("", rows[-1][1]):
            rows[-1][2].append(line)
        else:
            rows.append(("", name, [line]))
    return findings(rows)
