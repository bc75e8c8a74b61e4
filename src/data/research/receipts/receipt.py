"""The file of a receipt: its lines, the digest of all of them, and the months beside it.

``docs/receipt-format.md`` describes the format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np

from ...core.disk.atomic import put
from ...core.disk.files import Disk
from ...core.model.time.instant import iso, parse_iso
from ...core.model.time.span import Span
from ...core.runtime.once import cached_property
from ...errors import CorruptEntryError, FormatVersionError
from .digests import month_of, sha256

if TYPE_CHECKING:
    import os

NAME, VERSION = "onetape-receipt", 1
_LARGEST = 10_000_000
_MONTHS = b"onetape-months-1\n"
# Characters that a symbol or name has as they are; others are percent-encoded.
_PLAIN = "^=/.:@&+$!*(),;'~-_"
_DIGEST, _RANGES, _ROWS = r"sha256:[0-9a-f]{64}", r"(?P<ranges>\S+\.\.\S+)", r"rows (?P<rows>\d+)"
_TWO = f"{_DIGEST} {_DIGEST}"
_NAME, _END = r"(?P<name>\S+)", rf"(?P<digests>none|joined|{_DIGEST})"
_SERIES = rf"{_NAME} (?P<timeframe>\S+) (?P<lane>\S+)"
_GRID = r"(?P<grid>(exact )?raw/(-\d|\d|1[0-5])( exact-volume)?)"
_COUNTS = r"splits (?P<splits>\d+) dividends (?P<dividends>\d+)"
# The lines of each kind, in the order in which they are written; blanks are single.
GRAMMAR = {
    "run": rf"{_NAME} at (?P<at>\S+)( made-by .+)?",
    "terms": rf"{_NAME} \S+( read \S+ \S+)?",
    "bars": rf"{_SERIES} (?P<vendor>\S+) {_RANGES} {_ROWS} {_GRID} (?P<digests>none|{_TWO}( {_DIGEST})?)",
    "actions": rf"{_NAME} (?P<vendor>\S+) {_RANGES} {_COUNTS} {_END}",
    "gaps": rf"{_SERIES} \d+ bars \d+ spans {_END}",
    "members": rf"{_NAME} as-known (?P<day>\S+) {_ROWS} {_END}",
    "macro": rf"{_NAME} vintage (?P<day>\S+) {_RANGES} {_ROWS} {_END}",
    "filing": rf"{_NAME} (?P<accession>\S+) accepted (?P<at>\S+)",
    "calendar": rf"{_NAME} (?P<years>(19|20)\d\d\.\.(19|20)\d\d) {_END}",
    "all": _END,
}
_PATTERNS = {kind: re.compile(f"{kind} {rest}") for kind, rest in GRAMMAR.items()}
# The fields that identify a line among those of its kind.
_IDENTITY = ("name", "timeframe", "lane", "vendor", "day", "accession")
_OF_SERIES = ("bars", "actions", "gaps")


@dataclass(frozen=True)
class Line:
    """A line of a receipt.

    Attributes:
        text: The line with single blanks between its fields.
        kind: Its first field.
        values: Maps the names of the other fields to their texts; empty if the line is not one of its kind.
    """

    text: str
    kind: str
    values: Mapping[str, str] = field(compare=False)

    @classmethod
    def of(cls, text: str) -> Line:
        """Return a line; its symbols and names are decoded."""
        text = " ".join(text.split())
        kind = text.partition(" ")[0]
        match = kind in _PATTERNS and _PATTERNS[kind].fullmatch(text)
        values = {k: v for k, v in match.groupdict().items() if v} if match else {}
        values |= {k: unquote(values[k]) for k in ("name", "vendor") if k in values}
        return cls(text, kind, values)

    @property
    def identity(self) -> tuple[str, ...]:
        """Kind, name and so on: what only one line of a receipt may have."""
        names = (*_IDENTITY, *["ranges"] * (self.kind == "macro"))
        return (self.kind, *(self.values.get(name, "") for name in names))

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests, or ``none`` or ``joined``."""
        return tuple(self.values.get("digests", "none").split())

    @property
    def spans(self) -> tuple[Span, ...]:
        """The ranges; the end of each is one millisecond after its last stamp.

        Raises:
            ValueError, OverflowError: A time is invalid, or the ranges are not ascending.
        """
        pairs = [one.split("..") for one in self.values["ranges"].split(",")]
        spans = tuple(Span(parse_iso(start), parse_iso(end) + 1) for start, end in pairs)
        last = min(span.start for span in spans)
        for span in spans:
            if not last <= span.start < span.end:
                raise ValueError("its ranges are not ascending")
            last = span.end
        return spans

    @property
    def months(self) -> range:
        """The numbers of the months (UTC) from its first stamp's to its last one's; see :func:`.month_of`."""
        return range(month_of(self.spans[0].start), month_of(self.spans[-1].end - 1) + 1)

    def __str__(self) -> str:
        """Return the subject of the line."""
        return " ".join(filter(None, self.identity[1:])) or self.kind


def encoded(name: str) -> str:
    """Return a symbol or name as one field."""
    return quote(name, safe=_PLAIN)


def short(ms: int) -> str:
    """Return a time (UTC milliseconds) without the parts that are zero: ``2024-06-28T19Z``."""
    text = iso(ms)
    for zeros, rest in (":00Z", "Z"), (":00Z", "Z"), ("T00Z", ""):
        if not text.endswith(zeros):
            break
        text = text.removesuffix(zeros) + rest
    return text


def ranges(spans: Iterable[Span]) -> str:
    """Return ranges of stamps as one field; see :attr:`Line.spans`."""
    return ",".join(f"{short(span.start)}..{short(span.end - 1)}" for span in spans)


def digest_of(lines: Iterable[Line]) -> str:
    """Return the digest over all lines but ``terms`` and ``all``, without the field ``made-by``."""
    texts = [
        line.text.partition(" made-by ")[0] if line.kind == "run" else line.text
        for line in lines
        if line.kind not in ("terms", "all")
    ]
    return sha256("".join(f"{text}\n" for text in texts).encode())


@dataclass(frozen=True)
class Receipt:
    """A receipt, as read from its file or made from a run.

    Attributes:
        lines: Its lines, from the header to ``all``.
        months: Eight bytes for each month of each line of bars, or None; see :func:`.months_of`.
    """

    lines: tuple[Line, ...]
    months: bytes | None = None

    @classmethod
    def of(cls, lines: Iterable[Line], months: bytes | None = None) -> Receipt:
        """Return the receipt with these lines, in order, and the line ``all``."""
        kinds = list(GRAMMAR)

        def place(line: Line) -> tuple[Any, ...]:
            """Return where a line is written: those of a symbol together, others by kind."""
            series = line.values.get("name", "") if line.kind in _OF_SERIES else ""
            kind = "bars" if series else line.kind
            return (kinds.index(kind), series, kinds.index(line.kind), line.identity)

        ordered = (Line.of(f"{NAME} {VERSION}"), *sorted(lines, key=place))
        return cls((*ordered, Line.of(f"all {digest_of(ordered)}")), months)

    @classmethod
    def parse(cls, data: bytes, name: str, months: bytes | None = None) -> Receipt:
        """Parse a file's bytes; ``name`` is for messages.

        Line ends, blanks and a byte order mark do not matter.

        Raises:
            CorruptEntryError: It is not a receipt.
            FormatVersionError: A later version of the format.
        """
        try:
            if len(data) > _LARGEST:
                raise ValueError(f"it has {len(data)} bytes, more than {_LARGEST}")
            rows = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\t", " ").split("\n")
            lines = [Line.of(row) for row in rows if row.strip(" ")]
            odd = next((n for n, row in enumerate(rows, 1) if not row.isprintable()), None)
            if odd is not None:
                raise ValueError(f"line {odd} has a character that cannot be printed")
            head, _, version = lines[0].text.partition(" ") if lines else ("", "", "")
            if head != NAME or not version.isdecimal():
                raise ValueError(f"its first line is not `{NAME} {VERSION}`")
        except ValueError as exc:
            raise CorruptEntryError(f"{name} is not a receipt: {exc}") from exc
        if version != str(VERSION):
            text = f"{name} has version {version[:9]} of the format; this version reads {VERSION}"
            raise FormatVersionError(text, hint="update onetape")
        return cls(tuple(lines), months)

    @property
    def fault(self) -> str:
        """The first reason why the file is not as it was made; empty if there is none."""
        seen = set()
        for line in self.lines[1:]:
            if line.kind in GRAMMAR and not line.values:
                return f"not a line of `{line.kind}`: {line.text[:80]}"
            if line.values and line.identity in seen:
                return f"two lines for {line.kind} {line}"
            seen.add(line.identity)
            try:
                _ = (
                    line.spans
                    if "ranges" in line.values
                    else parse_iso(line.values.get("at", "2000-01-01"))
                )
            except (ValueError, OverflowError) as exc:
                return f"{line.kind} {line}: {exc}"
            if "ranges" in line.values and ranges(line.spans) != line.values["ranges"]:
                return f"{line.kind} {line}: its ranges are not written as {ranges(line.spans)}"
        kinds = [line.kind for line in self.lines]
        if kinds.count("run") != 1 or kinds.count("all") != 1 or kinds[-1] != "all":
            return "it needs one line `run`, and one line `all` at its end"
        if {*kinds[1:]} <= {"run", "terms", "all"}:
            return "it has no line of what was read"
        if self.lines[-1].digests != (digest_of(self.lines),):
            return "the digest `all` is not that of the lines"
        return ""

    @property
    def digest(self) -> str:
        """The digest ``all``."""
        return self.lines[-1].digests[0]

    @property
    def run(self) -> Line:
        """The line of the run."""
        return next(line for line in self.lines if line.kind == "run")

    def of_kind(self, *kinds: str) -> list[Line]:
        """Return the lines of some kinds."""
        return [line for line in self.lines if line.kind in kinds and line.values]

    def __str__(self) -> str:
        """Return the text of the file."""
        rows = []
        for line in self.lines:
            kind, *rest = line.text.split(" ", 2)
            is_wide = line.kind in GRAMMAR and line.kind != "all"
            rows.append(f"{kind:<8} {rest[0]:<8} {' '.join(rest[1:])}" if is_wide else line.text)
        return "".join(f"{row.rstrip()}\n" for row in rows)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the file, and ``.months`` beside it; return the path.

        Raises:
            StorageError: A file could not be written.
        """
        file = Path(path).expanduser()
        if self.months is not None:
            put(_beside(file), _MONTHS + bytes.fromhex(self.digest[7:]) + self.months)
        return put(file, str(self).encode())

    def months_of_line(self, line: Line) -> dict[str, bytes]:
        """Return the eight bytes for each month of a line of bars; empty if there are none."""
        part = self._parts.get(line.text, b"")
        cuts = range(0, len(part), 8)
        names = (str(np.datetime64(month, "M")) for month in line.months)
        return {name: part[at : at + 8] for name, at in zip(names, cuts, strict=False)}

    @cached_property
    def _parts(self) -> dict[str, bytes]:
        """Maps the text of each line of bars to its months."""
        lines = self.of_kind("bars")
        ends = [0, *accumulate(8 * len(line.months) for line in lines)]
        if len(self.months or b"") != ends[-1]:
            return {}
        parts = pairwise(ends)
        return {
            one.text: (self.months or b"")[a:b] for one, (a, b) in zip(lines, parts, strict=True)
        }


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.months")


def read_receipt(path: str | os.PathLike[str]) -> Receipt:
    """Read a receipt, and the months beside it if they belong to it.

    Raises:
        CorruptEntryError: It is not a receipt.
        FormatVersionError: A later version of the format.
        StorageError: The file cannot be read.
    """
    disk, file = Disk(), Path(path).expanduser()
    receipt = Receipt.parse(disk.read(file), str(path))
    beside = disk.read_if_exists(_beside(file)) or b""
    head = _MONTHS + bytes.fromhex(receipt.digest[7:]) if not receipt.fault else b""
    return (
        Receipt(receipt.lines, beside[len(head) :]) if head and beside.startswith(head) else receipt
    )
