"""Reads bars from HDF5 files written by pandas (fixed and table format) or Zipline (daily bars).

The files are read only with h5py. pandas reads them with PyTables, which unpickles attributes, so a
file could run any code. The names and time zones in attributes are read as tokens here.

HDF5 support is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.disk.files import Disk, FileState
from ...errors import BundleError, MissingExtraError, install_line
from ..frames.frames import FIELDS, PRICES, pl
from .bundle_records import UNREADABLE

__all__ = ["Hdf5File", "Hdf5Frame", "hdf5_bundles", "hdf5_files", "plain_value", "read_hdf5"]

_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
# What the libraries, and code that expects another layout, raise.
# Files that declare more rows than these and than fit into their size are rejected.
_FEW_ROWS, _ROWS_PER_BYTE = 2_000_000, 4
# Bars can have stamps this many days before or after 1970: the years 1680 to 2259.
_MOST_DAYS = 106_000
_UNREADABLE = (*UNREADABLE, RuntimeError, TypeError, AttributeError, LookupError, ArithmeticError)
_TIME_KIND = re.compile(r"datetime64(?:\[(s|ms|us|ns)\b.*\])?|datetime")
_TIME_NAMES = frozenset({"", "date", "timestamp", "datetime", "time", "day"})
_SYMBOL_NAMES = frozenset({"symbol", "ticker", "asset"})
# Parts of keys that do not name a symbol: words for frames, and timeframes.
_NO_SYMBOL = re.compile(
    r"data|df|frame|table|bars|prices|history|ohlcv?"
    r"|daily|hourly|weekly|monthly|intraday|minutes?|hours"
    r"|\d+(m|min|minutes?|h|hours?|d|days?|w|weeks?|mo|months?)",
    re.IGNORECASE,
)
_UTC = (("pytz _UTC", ()), ("datetime timezone", (("datetime timedelta", (0, 0, 0)),)))
_ZIPLINE, _NO_CURRENCY = {"data", "index", "lifetimes"}, 3 * "X"
# Tokens of a pickle: values, and those that make one of the last values on the stack.
_CONSTANTS = frozenset({"GLOBAL", "UNICODE", "STRING", "INT", "LONG", "FLOAT", "NONE"})
_COLLECTIONS: dict[str, Any] = {"LIST": list, "TUPLE": tuple, "DICT": dict}
_STEPS: dict[str, tuple[int, Any]] = {
    "APPEND": (2, lambda items, item: items.append(item) or items),
    # Only text is a key: computing the hash of others could take for ever.
    "SETITEM": (3, lambda d, key, item: d.update({key: item} if isinstance(key, str) else {}) or d),
    "REDUCE": (2, lambda name, arguments: (name, arguments)),
    "BUILD": (2, lambda item, state: item),
}


class Hdf5Frame(NamedTuple):
    """The bars of one frame.

    Attributes:
        rows: Time (``date`` or ``timestamp``), ``symbol`` or ``sid``, the fields, and any other
            columns, in any order.
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
        state: State of the file while it was read.
    """

    frames: tuple[Hdf5Frame, ...]
    skipped: Mapping[str, str]
    state: FileState


def hdf5_files(place: Path) -> list[Path]:
    """Return the sorted HDF5 files in a folder, or the one file that ``place`` is.

    Raises:
        BundleError: No HDF5 file was found, or ``place`` cannot be read.
    """
    try:
        every = [place] if place.is_file() else sorted(place.iterdir())
    except (OSError, ValueError) as exc:
        raise BundleError(f"{place!s:.200} cannot be read: {exc!s:.200}") from exc
    paths = [path for path in every if path == place or path.suffix.lower() in _SUFFIXES]
    if not paths:
        raise BundleError(f"no HDF5 files were found in {place}")
    return paths


def hdf5_bundles(folder: Path) -> list[Path]:
    """Return the sorted folders in a folder that contain HDF5 files."""
    return sorted({path.parent for path in folder.glob("*/*") if path.suffix.lower() in _SUFFIXES})


def read_hdf5(path: Path, disk: Disk | None = None) -> Hdf5File:
    """Read all bars in an HDF5 file. Everything in the file is checked before any value is read.

    Raises:
        BundleError: The path is not a file; or the file is damaged, changes while it is being read,
            is being written, contains links or pickled objects, or has more values than its size
            allows.
        MissingExtraError: h5py or hdf5plugin is not installed (extra ``hdf5``).
        StorageError: The file is inaccessible.
    """
    try:
        import h5py
        import hdf5plugin  # noqa: F401 - adds the filters of PyTables
    except ImportError as missing:
        raise MissingExtraError(
            f"HDF5 files need {missing.name}", hint=install_line("hdf5")
        ) from missing
    disk, skipped, frames = disk or Disk(), dict[str, str](), list[Hdf5Frame]()
    state = disk.stat(path)
    if state is None or not path.is_file():
        raise BundleError(f"{path} does not exist, or is not a file")
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            for key, columns in _walk(h5py, file, state.size, skipped).items():
                roles = _roles(key, columns)
                if lacking := [name for name in ("time", *PRICES) if name not in roles]:
                    skipped[key] = f"has no column for {', '.join(lacking)}"
                else:
                    frames.append(_frame(key, roles, path.stem))
    except _UNREADABLE as exc:
        reason = str(exc.args[0] if exc.args else exc).splitlines()[0]
        if isinstance(exc, BlockingIOError):
            reason = "it is open for writing in another program"
        raise BundleError(f"{path.name} cannot be read as HDF5: {reason:.200}") from exc
    if disk.stat(path) != state:
        raise BundleError(f"{path.name} was changed while it was read", hint="read it again")
    return Hdf5File(tuple(frames), skipped, state)


def _walk(
    h5py: Any, file: Any, size: int, skipped: dict[str, str]
) -> dict[str, Iterator[tuple[str, pl.Series]]]:
    """Check every object in a file of ``size`` bytes.

    Returns:
        Maps the path of each frame to an iterator that reads its columns.

    Raises:
        ValueError: An object is a link, or a dataset must not be read.
    """
    found, groups, seen, total = {}, [("", file, False)], set(), 0
    while groups:
        key, group, is_known = groups.pop()
        if (address := h5py.h5o.get_info(group.id).addr) in seen:
            continue  # a group may contain itself
        seen.add(address)
        layout = _text(group, "pandas_type")
        readers = {"frame": _fixed, "frame_table": _table}
        reader = _zipline if {*group} >= _ZIPLINE else readers.get(layout)
        if reader is not None:
            found[key], is_known = reader(group), True
        elif layout:
            skipped[key], is_known = f"is a {layout} of pandas, not a frame", True
        for name in sorted(group, reverse=True):
            path = f"{key}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{path} is a link to another place")
            child = group[name]
            if isinstance(child, h5py.Group):
                groups.append((path, child, is_known))
                continue
            total += _size_of(h5py, path, child)  # the sum, because frames may share a dataset
            if total > 64 * max(_FEW_ROWS, _ROWS_PER_BYTE * size):
                what = f"{path} declares values of {total:,} bytes, with those before it,"
                raise ValueError(f"{what} in a file of {size:,} bytes")
            if not is_known:
                skipped[path] = "is not in a layout of pandas or Zipline"
    return found


def _size_of(h5py: Any, path: str, dataset: Any) -> int:
    """Return the number of bytes that reading a dataset may need. No value is read.

    Raises:
        ValueError: The values are pickled, stored in other files or compressed in an unknown way.
    """
    if dataset.dtype.hasobject:
        what = "contains pickled Python objects, which could run any code; write it as a table"
        raise ValueError(f"{path} {what}")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{path} has its values in other files")
    steps = dataset.id.get_create_plist()
    filters = [steps.get_filter(number)[0] for number in range(steps.get_nfilters())]
    if unknown := [code for code in filters if not h5py.h5z.filter_avail(code)]:
        raise ValueError(f"{path} is compressed with the unknown HDF5 filter {unknown[0]}")
    chunk = np.prod(dataset.chunks or (), dtype=float)
    return int(max(dataset.size or 0, chunk) * max(dataset.dtype.itemsize, 8))


# --- columns -------------------------------------------------------------------------------


def _roles(key: str, columns: Iterable[tuple[str, pl.Series]]) -> dict[str, pl.Series]:
    """Read the columns of a frame, with their names in the bundle, or ``time``."""
    roles: dict[str, pl.Series] = {}
    for name, values in columns:
        role = name.lower()
        if values.dtype == pl.Datetime and role in _TIME_NAMES:
            role = "time"
        elif values.dtype == pl.String and role in _SYMBOL_NAMES:
            role = "symbol"
        elif role not in ("sid", *FIELDS):
            role = name
        if role in roles:
            raise ValueError(f"{key} has two columns for {role}")
        if role:  # otherwise an index of plain numbers
            roles[role] = values.alias(role)
    return roles


def _frame(key: str, roles: dict[str, pl.Series], stem: str) -> Hdf5Frame:
    """Return columns as bars: by date if all times are at midnight in their zone, else by UTC.

    Without a column for them, their symbol is the last part of ``key`` that can name one, or
    ``stem``.
    """
    time, symbol = roles.pop("time"), ""
    local = time.dt.replace_time_zone(None)
    if (local == local.dt.truncate("1d")).all():
        times = local.dt.date().alias("date")
    else:
        times = time.dt.convert_time_zone("UTC").dt.replace_time_zone(None).alias("timestamp")
    rows = pl.DataFrame([times, *roles.values()])
    if "volume" not in roles:
        rows = rows.with_columns(volume=pl.lit(None, pl.Float64))
    if not {"symbol", "sid"} & roles.keys():
        names = [part for part in key.split("/") if part and not _NO_SYMBOL.fullmatch(part)]
        symbol = [stem, *names][-1]
        rows = rows.with_columns(symbol=pl.lit(symbol))
    return Hdf5Frame(rows, key, symbol)


def _fixed(group: Any) -> Iterator[tuple[str, pl.Series]]:
    """Yield the columns of a frame in the fixed format, the index or its levels first."""
    if "axis1" in group and "shape" not in group["axis1"].attrs:  # it has no rows otherwise
        yield _text(group["axis1"], "name"), _array(group["axis1"])
    for number in range(len(group)):
        if f"axis1_level{number}" in group:
            level, codes = group[f"axis1_level{number}"], group[f"axis1_label{number}"][()]
            at = pl.Series(codes.astype(np.int64))
            yield _text(level, "name"), _array(level).gather(at.set(at < 0, None))
    for number in range(len(group)):
        block = group.get(f"block{number}_values")
        if block is None or "shape" in block.attrs:
            return
        names = _series(group[f"block{number}_items"][()]).cast(pl.String)
        kind, zone = _text(block, "value_type"), _attribute(block, "tz")
        for name, column in zip(names.to_list(), block[()].T, strict=True):
            yield name, _series(column, kind, zone)


def _table(group: Any) -> Iterator[tuple[str, pl.Series]]:
    """Yield the columns of a frame in the table format, the index first."""
    table, info = group["table"], plain_value(_attribute(group, "info"))
    rows = table[()]
    for field in rows.dtype.names or ():
        if _text(table, f"{field}_meta") == "category":
            raise ValueError(f"{table.name} has the categorical column {field}")
        is_index, values, zone = field == "index", rows[field], info.get(field, {}).get("tz")
        unit = _text(table, f"{field}_kind" if is_index else f"{field}_dtype")
        names = [""] if is_index else plain_value(_attribute(table, f"{field}_kind"))
        columns = [values] if values.ndim == 1 else [*values.T]
        for name, column in zip(names, columns, strict=True):
            if not isinstance(name, str):
                raise ValueError("the names of columns are not text")
            yield name, _series(column, unit, zone)


def _zipline(group: Any) -> Iterator[tuple[str, pl.Series]]:
    """Yield the daily bars of one country, which has a row for each sid and a column for each day."""
    version = _attribute(group.file, "version")
    if version != 0:
        raise ValueError(f"it has version {version} of Zipline's layout; only 0 is known")
    sids, days, fields = group["index/sid"][()], group["index/day"][()], {}
    for name in FIELDS:
        dataset = group["data"][name]
        values, scale = dataset[()], float(_attribute(dataset, "scaling_factor") or 0)
        if values.shape != (*sids.shape, *days.shape) or not 0 < scale < np.inf:
            raise ValueError(f"wrong shape {values.shape} or scaling_factor {scale} of {name}")
        # Divided, not multiplied by 1/1000: the nearest float to the decimal number.
        fields[name] = values / scale
    at_sid, at_day = np.nonzero(np.any([values != 0 for values in fields.values()], axis=0))
    yield "date", _stamps(days[at_day], "ns", "")
    yield "sid", pl.Series(sids[at_sid])
    for name, values in fields.items():
        column = pl.Series(values[at_sid, at_day])
        yield name, column if name == "volume" else column.replace(0, None)
    codes = _series(group["currency/code"][()]) if "currency" in group else pl.Series([""])
    if codes.is_in(["", _NO_CURRENCY]).not_().any():
        yield "currency", codes.gather(at_sid)


# --- values --------------------------------------------------------------------------------


def _array(dataset: Any) -> pl.Series:
    return _series(dataset[()], _text(dataset, "kind"), _attribute(dataset, "tz"))


def _series(values: Any, kind: str = "", zone: Any = None) -> pl.Series:
    """Convert stored values to a column, with the type that pandas calls ``kind``."""
    if match := _TIME_KIND.fullmatch(kind):
        return _stamps(values, match[1] or "ns", _zone(zone))
    if values.dtype.kind == "S":
        texts = (None if value == b"nan" else value.decode() for value in values.tolist())
        return pl.Series([*texts], dtype=pl.String)
    if (series := pl.Series(np.ascontiguousarray(values))).dtype == pl.Object:
        raise ValueError(f"type {values.dtype} is not supported")
    return series


def _stamps(values: Any, unit: str, zone: str) -> pl.Series:
    """Convert stored times to microseconds, in their time zone if they have one.

    Raises:
        ValueError: A time is before 1680 or after 2259, or is not a whole number.
    """
    if values.dtype.kind not in "iu":
        raise ValueError("the times are not whole numbers")
    times = values.astype(np.int64).view(f"M8[{unit}]")
    days = times.astype("M8[D]")[~np.isnat(times)].astype(np.int64)
    if (np.abs(days) >= _MOST_DAYS).any():
        raise ValueError("a time is before 1680 or after 2259")
    stamps = pl.Series(times.astype("M8[us]"))
    return stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else stamps


# --- attributes ----------------------------------------------------------------------------


def _attribute(item: Any, name: str) -> Any:
    """Return an attribute; None if it does not exist, or is an array, which could be of any size."""
    is_single = name in item.attrs and item.attrs.get_id(name).shape == ()
    return item.attrs[name] if is_single else None


def _text(item: Any, name: str) -> str:
    """Return an attribute as text; empty for None, which pandas writes as the pickle ``N.``."""
    value = _attribute(item, name)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
    return text.removeprefix("N.")


def _zone(stored: Any) -> str:
    """Return the name of a time zone, from a name or from its form in a pickle; empty for none.

    Raises:
        ValueError: The zone has no name, and is not UTC.
    """
    if isinstance(stored, bytes):
        stored = plain_value(stored) if stored.endswith(b".") else stored.decode()
    match stored:
        case None | str():
            return stored or ""
        case (_, (str(name), *_)):
            return name
        case _ if stored in _UTC:
            return "UTC"
    raise ValueError("times have a time zone without a name")


def plain_value(pickled: bytes) -> Any:
    """Return the value of a pickle without unpickling it: no class is loaded, and nothing is called.

    A call becomes a tuple of its name and arguments. Only protocol 0 is supported, which PyTables
    uses for its attributes.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: The pickle contains a token from another
            protocol, or is damaged.
    """
    stacks: list[list[Any]] = [[]]  # one for each open collection
    memo: dict[Any, Any] = {}
    for code, value, _ in pickletools.genops(pickled):
        name, stack = code.name, stacks[-1]
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            stacks.append([])
        elif name == "PUT":
            memo[value] = stack[-1]
        elif name in _COLLECTIONS:
            items = stacks.pop()
            stacks[-1].append(_COLLECTIONS[name](items))
        elif name in _STEPS:
            count, made = _STEPS[name]
            stack[-count:] = [made(*stack[-count:])]
        elif name == "GET" or name in _CONSTANTS:
            stack.append(memo[value] if name == "GET" else value)
        else:
            raise ValueError(f"an attribute contains the pickle token {name}")
    raise ValueError("an attribute is a pickle without an end")
