"""Reads bars from HDF5 files written by pandas (fixed and table format) or Zipline (daily bars).

The files are read only with h5py. pandas reads them with PyTables, which unpickles attributes, so a
file could run any code.

HDF5 support is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ..disk.files import Disk, FileState, Handle
from ..errors import BundleError, MissingExtraError, install_line
from ..polars.schemas import FIELDS
from .bundle_records import MOST_DAYS, UNREADABLE, most_values
from .pickle_tokens import plain_value

__all__ = ["Hdf5File", "Hdf5Frame", "is_hdf5_name", "read_hdf5"]

_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
_BLOCK_BYTES = 1 << 20
# What the libraries, and code that expects another layout, raise.
_UNREADABLE = (*UNREADABLE, RuntimeError, TypeError, AttributeError, LookupError, ArithmeticError)
_TIME_KIND = re.compile(r"datetime64(?:\[(s|ms|us|ns)\b.*\])?|datetime")
_TIME_NAMES = frozenset({"date", "timestamp", "datetime", "time", "day"})
_SYMBOL_NAMES = frozenset({"symbol", "ticker", "asset"})
# Parts of keys that do not name a symbol: words for frames, and timeframes.
_NO_SYMBOL = re.compile(
    r"data|df|frame|table|bars|prices|history|ohlcv?"
    r"|daily|hourly|weekly|monthly|intraday|minutes?|hours"
    r"|\d+(m|min|minutes?|h|hours?|d|days?|w|weeks?|mo|months?)",
    re.IGNORECASE,
)
# What the path of a frame without volumes ends with in the list of what is skipped.
VOLUME = " (volume)"
_MISSING_TIME = np.iinfo(np.int64).min
_SCALE, _NO_CURRENCY = "scaling_factor", 3 * "X"


class Hdf5Frame(NamedTuple):
    """The bars of one frame.

    Attributes:
        rows: Time (``date`` or ``timestamp``), ``symbol`` or ``sid``, the fields, and any other
            columns.
        key: Path of the frame in its file.
        symbol: Symbol of all rows, if the frame has no column for it; empty otherwise.
    """

    rows: pl.DataFrame
    key: str
    symbol: str


class Hdf5File(NamedTuple):
    """The content of one file.

    Attributes:
        frames: Frames of bars in the file.
        skipped: Maps the path of each other object in the file to the reason why it is not bars.
        sha256, state: Digest of the file, and its state while it was read.
    """

    frames: tuple[Hdf5Frame, ...]
    skipped: Mapping[str, str]
    sha256: str
    state: FileState


class _Column(NamedTuple):
    """A column that has been checked but not read yet.

    Attributes:
        name: Name in the file; empty for an index without a name.
        dtype: Type of the stored values.
        read: Function that returns the stored values.
        unit: Unit of times (``s``, ``ms``, ``us``, ``ns``); empty if the values are not times.
        zone: Name of the time zone; empty for none.
    """

    name: str
    dtype: np.dtype[Any]
    read: Callable[[], Any]
    unit: str = ""
    zone: str = ""


def is_hdf5_name(name: str) -> bool:
    """Return whether a file name has a suffix used for HDF5 files."""
    return name.lower().endswith(_SUFFIXES)


def read_hdf5(path: Path, disk: Disk | None = None) -> Hdf5File:
    """Read all bars in an HDF5 file. Everything in the file is checked before any value is read.

    Raises:
        BundleError: The file is damaged, changes while it is being read, is being written, contains
            links or pickled objects, or has more values than its size allows.
        MissingExtraError: h5py is not installed (extra ``hdf5``).
        StorageError: The file cannot be opened.
    """
    h5py, disk = _library(), disk or Disk()
    with _typed_errors(path.name):
        real = path.resolve()
    handle = disk.open_read(real)
    if handle is None:
        raise BundleError(f"{path} does not exist")
    try:
        state = disk.fstat(handle)
        with _typed_errors(path.name), h5py.File(real, "r", locking="best-effort") as file:
            scan = _Scan(h5py, file, path.name, state.size)
            scan.walk()
            frames = tuple(scan.frames(path.stem))
            sha256 = _digest(disk, handle, state.size)
        if disk.fstat(handle) != state:
            raise BundleError(f"{path.name} was changed while it was read", hint="read it again")
    finally:
        disk.close(handle)
    return Hdf5File(frames, scan.skipped, sha256, state)


def _library() -> Any:
    try:
        import h5py
    except ImportError as missing:
        raise MissingExtraError("HDF5 files need h5py", hint=install_line("hdf5")) from missing
    return h5py


def _digest(disk: Disk, handle: Handle, size: int) -> str:
    whole = hashlib.sha256()
    for at in range(0, size, _BLOCK_BYTES):
        whole.update(disk.read_at(handle, at, min(_BLOCK_BYTES, size - at)))
    return whole.hexdigest()


@contextmanager
def _typed_errors(name: str) -> Iterator[None]:
    """Convert errors from the HDF5 libraries to a :class:`BundleError` that names the file."""
    try:
        yield
    except BlockingIOError as exc:
        raise BundleError(
            f"{name} is open for writing in another program", hint="close it there, then repeat"
        ) from exc
    except _UNREADABLE as exc:
        if isinstance(exc, BundleError):
            raise
        reason = str(exc.args[0] if exc.args else exc).splitlines()[0]
        raise BundleError(f"{name} cannot be read as HDF5: {reason:.200}") from exc


class _Scan:
    """The checks on one open file. The values of a dataset are read only after all checks."""

    def __init__(self, h5py: Any, file: Any, name: str, size: int) -> None:
        self._h5py, self._file, self._name, self._size = h5py, file, name, size
        self._found: list[tuple[str, bool, Callable[[str], pl.DataFrame]]] = []
        self._bytes = 0.0
        self.skipped: dict[str, str] = {}

    def frames(self, stem: str) -> Iterator[Hdf5Frame]:
        """Read each frame; ``stem`` names a single frame whose key contains no symbol."""
        nameless = sum(is_nameless for _, is_nameless, _ in self._found)
        for key, is_nameless, read in self._found:
            parts = key.strip("/").split("/")
            otherwise = stem if nameless == 1 else parts[-1]
            named = (part for part in reversed(parts) if not _NO_SYMBOL.fullmatch(part))
            symbol = next(named, otherwise) if is_nameless else ""
            yield Hdf5Frame(read(symbol), key, symbol)

    def walk(self) -> None:
        """Find and check every frame in the file."""
        groups, addresses = [("", self._file)], set()
        while groups:
            key, group = groups.pop()
            address = self._h5py.h5o.get_info(group.id).addr
            if address in addresses:  # a group may contain itself
                continue
            addresses.add(address)
            if pandas_type := _text(group, "pandas_type"):
                if pandas_type not in ("frame", "frame_table"):
                    self.skipped[key] = f"is a {pandas_type} of pandas, not a frame"
                    continue
                columns = (
                    self._fixed_columns(group) if pandas_type == "frame" else self._table(group)
                )
                self._bars(key, list(columns))
            elif {"data", "index"} <= {*group} and "sid" in self._child(group, "index"):
                self._zipline(key, group)
            else:
                for name in sorted(group, reverse=True):
                    path, child = f"{key}/{name}", self._child(group, name)
                    if isinstance(child, self._h5py.Group):
                        groups.append((path, child))
                    else:
                        self.skipped[path] = "is not in a layout of pandas or Zipline"

    def _child(self, group: Any, name: str) -> Any:
        """Return a group or a checked dataset; links are never followed."""
        link = group.get(name, getlink=True)
        if link is None:
            raise ValueError(f"{group.name} has no member {name}")
        if not isinstance(link, self._h5py.HardLink):
            raise self._error(f"{group.name}/{name}", "is a link to another place")
        child = group[name]
        if isinstance(child, self._h5py.Dataset):
            self._check(child)
        return child

    def _check(self, dataset: Any) -> None:
        """Check a dataset without reading a value.

        Raises:
            BundleError: The values are pickled, stored in other files or compressed in an unknown
                way, or there are too many.
        """
        name, dtype, chunk = dataset.name, dataset.dtype, dataset.chunks or ()
        if dtype.hasobject:
            raise self._error(name, "contains pickled Python objects, which could run any code")
        if dataset.is_virtual or dataset.external:
            raise self._error(name, "has its values in other files")
        count = max(dataset.size or 0, np.prod(chunk, dtype=float))
        # The sum, because any number of frames may share one dataset.
        self._bytes += count * dtype.itemsize
        if self._bytes > 8 * most_values(self._size):
            what = f"declares {count:,.0f} values of {dtype.itemsize:,} bytes"
            what = f"{what} in a file of {self._size:,} bytes"
            raise self._error(name, f"{what}, {self._bytes:,.0f} bytes with the values before it")
        filters = dataset.id.get_create_plist()
        for number in range(filters.get_nfilters()):
            code, _, _, text = filters.get_filter(number)
            if not self._h5py.h5z.filter_avail(code):
                with suppress(ImportError):
                    import hdf5plugin  # noqa: F401 - adds filters, which most files do not need
                if not self._h5py.h5z.filter_avail(code):
                    raise self._error(name, f"is compressed with {text!r} (filter {code})")

    def _error(self, path: str, what: str) -> BundleError:
        return BundleError(
            f"{self._name}: {path} {what}",
            hint="write the bars to a new file with pandas, without it; nothing was changed",
        )

    # --- pandas ----------------------------------------------------------------------------

    def _fixed_columns(self, group: Any) -> Iterator[_Column]:
        """Yield the columns of a frame in the fixed format, the index first."""
        if _text(group, "axis1_variety") == "multi":
            for number in range(len(group)):
                if f"axis1_level{number}" in group:
                    yield self._level(group, number)
        else:
            index = self._child(group, "axis1")
            yield _array(index, _text(index, "name"), "kind")
        for number in range(len(group)):
            if f"block{number}_values" not in group:
                break
            values = self._child(group, f"block{number}_values")
            names = _texts(self._child(group, f"block{number}_items")[()])
            whole = cache(lambda values=values: values[()])
            if "shape" in values.attrs:  # pandas writes one row for a frame without rows
                return
            for position, name in enumerate(names):
                column = _array(values, name or "", "value_type")
                yield column._replace(read=partial(_column_of, whole, position))

    def _level(self, group: Any, number: int) -> _Column:
        """Return a level of the index as a column."""
        level = self._child(group, f"axis1_level{number}")
        labels = self._child(group, f"axis1_label{number}")
        column = _array(level, _text(level, "name"), "kind")

        def read() -> Any:
            """Return the index level's values, one per row."""
            codes = labels[()]
            if len(codes) and codes.min() < 0:
                raise ValueError(f"some rows of {group.name} have no value for {column.name}")
            return level[()][codes]

        return column._replace(read=read)

    def _table(self, group: Any) -> Iterator[_Column]:
        """Yield the columns of a frame in the table format, the index first."""
        table, info = self._child(group, "table"), _raw(group, "info")
        facts = plain_value(info) if info else {}
        whole = cache(lambda: table[()])
        for field in table.dtype.names or ():
            kind = _raw(table, f"{field}_kind")
            dtype, shape = table.dtype[field].base, table.dtype[field].shape
            if _text(table, f"{field}_meta") == "category":
                raise self._error(f"{group.name}/{field}", "is categorical")
            is_index = field == "index"
            names = [""] if is_index else _names(kind) if kind else [field]
            unit = _unit(_text(table, f"{field}_kind" if is_index else f"{field}_dtype"))
            zone = _zone(facts.get(field, {}).get("tz")) if unit else ""
            for position, name in enumerate(names):

                def read(field: str = field, at: int | None = position if shape else None) -> Any:
                    """Return the values of a field, or of one of its columns."""
                    values = whole()[field]
                    return values if at is None else values[:, at]

                yield _Column(name, dtype, read, unit, zone)

    def _bars(self, key: str, columns: list[_Column]) -> None:
        """Map a frame's columns to those of bars, or skip the frame if that is impossible."""
        roles: dict[str, _Column] = {}
        others: dict[str, _Column] = {}
        for column in columns:
            role = _role(column)
            if role is None:
                continue  # an index of plain numbers
            target = roles if role in _KNOWN_COLUMNS else others
            if role in target:
                raise ValueError(f"{key} has two columns for {role}")
            if column.dtype.kind not in ("iuf" if role in FIELDS else "biufS"):
                raise ValueError(f"{key}: type {column.dtype} is not supported for {role}")
            target[role] = column
        lacking = [name for name in ("time", *FIELDS[:4]) if name not in roles]
        if lacking:
            self.skipped[key] = f"has no column for {', '.join(lacking)}"
            return
        if "volume" not in roles:
            self.skipped[f"{key}{VOLUME}"] = "does not exist; stored as null"
        is_nameless = not {"symbol", "sid"} & roles.keys()
        self._found.append((key, is_nameless, lambda symbol: _frame(symbol, roles, others)))

    # --- Zipline ---------------------------------------------------------------------------

    def _zipline(self, key: str, group: Any) -> None:
        """Find the daily bars of one country, with a row for each sid and a column for each day."""
        version = self._file.attrs.get("version")
        if version != 0:
            raise ValueError(f"it has version {version} of Zipline's layout; only 0 is known")
        index, data = self._child(group, "index"), self._child(group, "data")
        sids, days = self._child(index, "sid"), self._child(index, "day")
        fields = {name: self._child(data, name) for name in FIELDS}
        scales = {name: float(dataset.attrs.get(_SCALE, "nan")) for name, dataset in fields.items()}
        for name, dataset in fields.items():
            if dataset.shape != (*sids.shape, *days.shape) or not 0 < scales[name] < np.inf:
                raise ValueError(
                    f"wrong shape {dataset.shape} or {_SCALE} {scales[name]} of {key}/data/{name}"
                )
        if sids.dtype.kind not in "iu" or days.dtype.kind not in "iu":
            raise ValueError(f"{key}/index does not contain whole numbers")
        if "currency" in group:
            code = self._child(self._child(group, "currency"), "code")
            if {*_texts(code[()])} - {_NO_CURRENCY}:
                self.skipped[f"{key}/currency"] = "has no column in a bundle"

        def read(_: str) -> pl.DataFrame:
            """Return a row for each bar; days without any value are left out."""
            values = {name: dataset[()] for name, dataset in fields.items()}
            at_sid, at_day = np.nonzero(np.logical_or.reduce([v != 0 for v in values.values()]))
            columns = {"date": days[()][at_day], "sid": sids[()].astype(np.int64)[at_sid]}
            for name, whole in values.items():
                # Divided, not multiplied by 1/1000: the nearest float to the decimal number.
                columns[name] = whole[at_sid, at_day] / scales[name]
                if name != "volume":
                    columns[name][columns[name] == 0] = np.nan
            stamps = _stamps(columns.pop("date"), "ns", "")
            return pl.DataFrame({"date": stamps.dt.date(), **columns})

        self._found.append((key, False, read))


_KNOWN_COLUMNS = ("time", "symbol", "sid", *FIELDS)


def _role(column: _Column) -> str | None:
    """Return the name of a column in the bundle; None for an index of plain numbers."""
    name = column.name.lower()
    if column.unit and (not name or name in _TIME_NAMES):
        return "time"
    if name in _SYMBOL_NAMES and column.dtype.kind == "S":
        return "symbol"
    if name == "sid" and column.dtype.kind in "iu":
        return "sid"
    if name in FIELDS:
        return name
    return column.name or None


def _frame(
    symbol: str, roles: Mapping[str, _Column], others: Mapping[str, _Column]
) -> pl.DataFrame:
    """Read the columns of a pandas frame."""
    stamps = _stamps(roles["time"].read(), roles["time"].unit, roles["time"].zone)
    local = stamps.dt.replace_time_zone(None)
    if (local == local.dt.truncate("1d")).all():
        columns: dict[str, Any] = {"date": local.dt.date()}
    elif stamps.dtype.time_zone is None:  # a time
        columns = {"timestamp": stamps}
    else:
        utc = stamps.dt.convert_time_zone("UTC")
        columns = {"timestamp": utc.dt.replace_time_zone(None)}
    if "sid" in roles:
        columns["sid"] = roles["sid"].read().astype(np.int64)
    elif "symbol" in roles:
        columns["symbol"] = _texts(roles["symbol"].read(), null="nan")
    else:
        columns["symbol"] = pl.repeat(symbol, len(stamps), dtype=pl.String, eager=True)
    for name in FIELDS:
        columns[name] = (
            np.ascontiguousarray(roles[name].read())
            if name in roles
            else pl.repeat(None, len(stamps), dtype=pl.Float64, eager=True)
        )
    for name, column in others.items():
        values = column.read()
        if column.unit:
            columns[name] = _stamps(values, column.unit, column.zone)
        else:
            is_text = column.dtype.kind == "S"
            columns[name] = _texts(values) if is_text else np.ascontiguousarray(values)
    return pl.DataFrame(columns)


def _stamps(values: Any, unit: str, zone: str) -> pl.Series:
    """Convert stored times to microseconds, in their time zone if they have one.

    Raises:
        ValueError: A time is before 1680 or after 2259, or is not a whole number.
    """
    if values.dtype.kind not in "iu":
        raise ValueError("the times are not whole numbers")
    values = np.ascontiguousarray(values, dtype=np.int64)
    per_day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    is_missing = values == _MISSING_TIME
    if (np.abs(np.where(is_missing, 0, values) // per_day) >= MOST_DAYS).any():
        raise ValueError("a time is before 1680 or after 2259")
    in_us = values // 1000 if unit == "ns" else values * (86_400 * 10**6 // per_day)
    stamps = pl.Series(np.where(is_missing, 0, in_us)).cast(pl.Datetime("us"))
    stamps = stamps.set(pl.Series(is_missing), None) if is_missing.any() else stamps
    if not zone:
        return stamps
    return stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


def _column_of(whole: Callable[[], Any], position: int) -> Any:
    return whole()[:, position]


def _array(dataset: Any, name: str, kind: str) -> _Column:
    unit = _unit(_text(dataset, kind))
    zone = _zone(_raw(dataset, "tz")) if unit else ""
    return _Column(name, dataset.dtype, lambda: dataset[()], unit, zone)


def _unit(kind: str) -> str:
    match = _TIME_KIND.fullmatch(kind)
    return "" if match is None else match[1] or "ns"


# --- attributes ----------------------------------------------------------------------------


def _raw(item: Any, name: str) -> bytes:
    """Return an attribute as bytes; empty if it does not exist or is not text."""
    value = item.attrs.get(name, b"")
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""


def _text(item: Any, name: str) -> str:
    """Return an attribute as text; empty for None, which pandas writes as the pickle ``N.``."""
    text = _raw(item, name).decode("utf-8", "replace")
    return "" if text == "N." else text


def _texts(values: Any, null: str | None = None) -> list[str | None]:
    """Decode an array of byte strings, or format an array of numbers; the text ``null`` becomes None."""
    unique, at = np.unique(values, return_inverse=True)
    texts = [text.decode() if isinstance(text, bytes) else str(text) for text in unique.tolist()]
    return [None if texts[index] == null else texts[index] for index in at.tolist()]


def _names(pickled: bytes) -> list[str]:
    """Return the names of columns in a pickled list.

    Raises:
        ValueError: The pickle contains anything else.
    """
    names = plain_value(pickled)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the names of columns are not a list of text")
    return names


def _zone(stored: Any) -> str:
    """Return the name of a time zone, from a name or from its form in a pickle; empty for none.

    Raises:
        ValueError: The zone has no name, and is not UTC.
    """
    if isinstance(stored, bytes):
        stored = plain_value(stored) if stored.endswith(b".") else stored.decode()
    if not stored or isinstance(stored, str):
        return stored or ""
    make, values = stored
    if values and isinstance(values[0], str):
        return str(values[0])
    if make == "pytz _UTC" or values in ((("datetime timedelta", (0, 0, 0)),), (None,)):
        return "UTC"
    raise ValueError("times have a time zone without a name")
