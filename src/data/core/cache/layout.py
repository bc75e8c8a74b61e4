"""Converts series to folder names, and back.

A symbol becomes one folder name by a reversible rule. Uppercase ASCII letters, digits, ``-``,
``_``, ``=`` and inner ``.`` stay; everything else becomes ``%XX`` per UTF-8 byte. A name therefore
never leads out of the cache, and symbols that differ only in case have different folders. In names
that Windows reserves, the first character is escaped.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ...errors import BadSymbolError, BadTimeframeError, QueryError, StorageError
from ..disk.calls import mode_of
from ..model.identity.series import SeriesKey, is_of_folder
from ..model.time.timeframe import Timeframe
from ..runtime.once import cached_property

BARS = "ohlcv"
QUARANTINE, LEGACY, VERSIONS = "_quarantine", "_legacy", "_versions"
SERIES, ACTIONS = "series.json", "actions.json"
_MOST_CHARACTERS = 64
# Almost every file system allows file names of 255 bytes.
_MOST_BYTES = 240
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=")
_KEPT_IN_LANES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_RESERVED = re.compile(
    r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9]|CONIN\$|CONOUT\$)(\..*)?", re.IGNORECASE
)
_DATA_TYPE = re.compile(r"[a-z][a-z0-9_]{0,40}")
_TIMEFRAME = re.compile(r"([1-9][0-9]{0,3})(m|h|d|w|mo)")
# The files of a year begin with its number. A new one is already included wherever a whole folder is
# removed or counted. Add it to these, each of which needs other files:
# `_FILE_ENDINGS` in `lane_files.py` (what may bar the lane), `clear_years` in `clear.py`,
# `_KEPT_FILE` in `retention/trim.py` (if it can be quarantined), and `_SHARED` in `core/hosts/decisions.py`.
DATA, METADATA, LOG = ".csv.gz", ".metadata.json", ".log"
# Rejected rows of a year, in the folder for quarantined files.
ROWS = ".rows.csv.gz"
# Exists in a folder that is a copy of a store that many hosts share.
SHARED = os.path.join("_hosts", "store.json")
OF_YEARS = (DATA, METADATA)


@lru_cache(256)  # one request needs the same name many times
def encode_symbol(symbol: str) -> str:
    """Return the folder name for ``symbol``.

    Raises:
        BadSymbolError: The symbol is empty, too long, or contains an invalid character.
    """
    name = symbol
    if not _is_kept(symbol):
        _check_text(symbol, "symbol")
        name = _escape(symbol, _SAFE, keep_inner_dots=True)
    if name[0] == "_" or _RESERVED.fullmatch(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > _MOST_BYTES:
        raise BadSymbolError(f"the symbol {symbol[:20]!r}... is too long for a folder name")
    return name


def decode_symbol(name: str) -> str | None:
    """Return the symbol whose folder is ``name``, or None if it is not one of this library's folders."""
    text = _unescape(name)
    try:
        return text if text is not None and encode_symbol(text) == name else None
    except BadSymbolError:
        return None


def is_data_type(name: str) -> bool:
    """Return whether a folder of this name contains tables, not bars, fundamentals or other files."""
    return bool(_DATA_TYPE.fullmatch(name)) and name not in (BARS, "fundamentals")


def encode_lane(key: SeriesKey) -> str:
    """Return the series' folder name within its symbol's folder, such as ``1d`` or ``1mo@raw``.

    Raises:
        QueryError: A part of the lane cannot be part of a folder name.
    """
    for part in key.lane:
        _check_text(part, "lane")
    # The lane part for a folder of files needs no escaping: it is a vendor, a dot and eight digits.
    parts = [p if is_of_folder(p) else _escape(p, _KEPT_IN_LANES) for p in key.lane]
    name = "@".join((key.timeframe.folder, *parts))
    if not _TIMEFRAME.fullmatch(key.timeframe.folder):
        raise BadTimeframeError(f"{key.timeframe!r} bars cannot be stored")
    if len(name) > _MOST_BYTES:
        raise QueryError(f"the lane {name[:20]!r}... is too long for a folder name")
    return name


def decode_lane(symbol: str, name: str) -> SeriesKey | None:
    """Return the series whose lane folder is ``name``, or None if it is not a lane folder."""
    frame, *escaped = name.split("@")
    match = _TIMEFRAME.fullmatch(frame)
    parts = [_unescape(part) for part in escaped]
    if match is None or any(not part for part in parts):
        return None
    timeframe = Timeframe(int(match[1]), "M" if match[2] == "mo" else match[2])
    key = SeriesKey(symbol, timeframe, tuple(part for part in parts if part))
    try:
        return key if encode_lane(key) == name else None
    except QueryError:
        return None


class LanePaths:
    """All paths that belong to one series.

    Attributes:
        text: Path of the lane folder as text, for scans over many series: creating a path object
            takes longer than checking a file.
        is_there: Whether the folder existed inside the cache when this object was created.
    """

    def __init__(self, text: str, *, is_there: bool) -> None:
        self.text = text
        self.is_there = is_there
        self._made: dict[tuple[int, str], Path] = {}

    @cached_property
    def folder(self) -> Path:
        """The lane folder."""
        return Path(self.text)

    @cached_property
    def series(self) -> Path:
        """The path of the document about the series as a whole."""
        return self.folder / SERIES

    @cached_property
    def lock(self) -> Path:
        """The lock file of the lane."""
        return self.folder / ".lock"

    @property
    def quarantine(self) -> Path:
        """The folder for rejected files, file tails and rows."""
        return self.folder / QUARANTINE

    @property
    def versions(self) -> Path:
        """The folder for year files that a rewrite has replaced."""
        return self.folder / VERSIONS

    @property
    def legacy(self) -> Path:
        """The folder for older tools' files whose bars have been imported."""
        return self.folder / LEGACY

    def data(self, year: int) -> Path:
        """Return the path of the year's bars."""
        return self._path_of(year, DATA)

    def data_text(self, year: int) -> str:
        """Return the path of the year's bars as text, for callers that only check the file."""
        return f"{self.text}{os.sep}{year:04d}{DATA}"

    def metadata(self, year: int) -> Path:
        """Return the path of the year's metadata."""
        return self._path_of(year, METADATA)

    def log(self, year: int) -> Path:
        """Return the path of the year's commit log."""
        return self._path_of(year, LOG)

    def rows(self, year: int) -> Path:
        """Return the path of the year's rejected rows."""
        return self.quarantine / f"{year:04d}{ROWS}"

    def _path_of(self, year: int, ending: str) -> Path:
        path = self._made.get((year, ending))
        if path is None:
            path = self._made[year, ending] = self.folder / f"{year:04d}{ending}"
        return path


class Layout:
    """The folders of one cache. Thread-safe.

    Args:
        root: Cache folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ohlcv = root / BARS
        self._text = os.fspath(self.ohlcv)
        # Series whose folder exists inside the cache; checking costs more than a cached answer.
        self._lane_paths: dict[SeriesKey, LanePaths] = {}
        self._actions: dict[str, str] = {}

    def symbol(self, symbol: str) -> Path:
        """Return the symbol's folder, whether or not it exists.

        Raises:
            BadSymbolError: The symbol cannot name a folder.
            StorageError: The folder is a link that leads out of the cache.
        """
        return Path(self._checked(encode_symbol(symbol))[0])

    def actions(self, symbol: str) -> str:
        """Return the path of the symbol's actions file as text; for errors, see :meth:`symbol`."""
        cached = self._actions.get(symbol)
        if cached is not None:
            return cached
        folder, is_there = self._checked(encode_symbol(symbol))
        file = f"{folder}{os.sep}{ACTIONS}"
        if is_there:
            self._actions[symbol] = file
        return file

    def lane(self, key: SeriesKey) -> LanePaths:
        """Return the paths of a series, whether or not they exist; for errors, see :meth:`symbol`."""
        cached = self._lane_paths.get(key)
        if cached is not None:
            return cached
        text, is_there = self._checked(encode_symbol(key.symbol), encode_lane(key))
        paths = LanePaths(text, is_there=is_there)
        if is_there:
            self._lane_paths[key] = paths
        return paths

    def series(self, names: Callable[[Path], list[str]]) -> list[SeriesKey]:
        """Return every stored series, in the order of their folders, even if one cannot be listed.

        Args:
            names: Function that returns the sorted names in a folder.
        """
        keys: list[SeriesKey] = []
        for folder in names(self.ohlcv):
            symbol = decode_symbol(folder)
            for name in names(self.ohlcv / folder) if symbol is not None else ():
                key = decode_lane(symbol, name) if symbol is not None else None
                if key is not None and _has_files(names, self.ohlcv / folder / name):
                    keys.append(key)
        return keys

    def _checked(self, *names: str) -> tuple[str, bool]:
        """Return a path below the folder of bars, and whether a folder exists there.

        A link is rejected.
        """
        below, mode = self._text, stat.S_IFDIR
        for name in names:
            below = f"{below}{os.sep}{name}"
            mode = mode and mode_of(below)
            if stat.S_ISLNK(mode):
                raise StorageError(
                    f"the folder {'/'.join((self.ohlcv.name, *names)[-2:])} of the cache is a link "
                    "to somewhere else",
                    hint="replace the link with the folder itself, or link the whole cache folder",
                )
        return below, stat.S_ISDIR(mode)


def _has_files(names: Callable[[Path], list[str]], lane: Path) -> bool:
    """Return whether a lane has files, or cannot be listed; reading it is then an error."""
    try:
        return any(map(_is_stored, names(lane)))
    except StorageError:
        return True


def _is_stored(name: str) -> bool:
    return name == SERIES or year_of_name(name) is not None


def year_of_name(name: str) -> int | None:
    """Return the year whose data or metadata a file with this name contains, or None."""
    return next(iter(years_in((name,))), None)


def years_in(names: Iterable[str]) -> list[int]:
    """Return the years whose data or metadata are in files with these names, in ascending order."""
    stems = {name[:4] for name in names if name[4:] in OF_YEARS}
    return sorted(int(s) for s in stems if s.isascii() and s.isdigit() and int(s))


def _is_kept(text: object) -> bool:
    """Return whether a symbol can be a folder name without escaping; nearly all symbols can."""
    return isinstance(text, str) and 0 < len(text) <= _MOST_CHARACTERS and _SAFE.issuperset(text)


def _check_text(text: str, what: str) -> None:
    """Reject an empty or overlong text, invisible characters, and text that is not in Unicode NFC.

    Raises:
        BadSymbolError: The text cannot be part of a name.
    """
    if not isinstance(text, str) or not text:
        raise BadSymbolError(f"the {what} is empty")
    if len(text) > _MOST_CHARACTERS:
        raise BadSymbolError(
            f"the {what} {text[:20]!r}... has {len(text)} characters; {_MOST_CHARACTERS} are allowed"
        )
    for character in text:
        # Control characters, bidirectional marks, surrogates, line separators and unassigned code
        # points.
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            raise BadSymbolError(f"the {what} {text!a} contains the character {character!a}")
    if unicodedata.normalize("NFC", text) != text:
        raise BadSymbolError(
            f"the {what} {text!a} is not in Unicode composed form", hint="normalize it to NFC"
        )


def _escape(text: str, kept: frozenset[str], *, keep_inner_dots: bool = False) -> str:
    parts = []
    for index, character in enumerate(text):
        inner_dot = keep_inner_dots and character == "." and 0 < index < len(text) - 1
        if character in kept or inner_dot:
            parts.append(character)
        else:
            parts += [f"%{byte:02X}" for byte in character.encode("utf-8")]
    return "".join(parts)


def _unescape(name: str) -> str | None:
    try:
        return unquote_to_bytes(name).decode("utf-8")
    except UnicodeError:  # also half of a character, from a name that is not in UTF-8
        return None
