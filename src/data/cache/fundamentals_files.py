"""The files of fundamentals: their names, their bytes, and what to make of those of other tools.

``<cache>/fundamentals/<SYMBOL>/<vendor>_<YYYYMMDD>_<HHMMSS>.json`` (UTC). Older tools kept them under
``<cache>/<SYMBOL>/fundamentals/`` and called yahoo ``yfinance``; those are read where they lie.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..disk.files import Disk, FileState
from ..errors import CorruptEntryError
from ..model.fundamentals import Snapshot
from ..model.fundamentals_plain import METADATA, snapshot_of
from ..model.instant import DAY_MS, from_ms, parse_iso, to_ms
from ..vendors.registry import canonical_vendor
from .format import json_document
from .layout import decode_symbol, encode_symbol

log = logging.getLogger(__name__)

FOLDER = "fundamentals"
QUARANTINE = "_quarantine"
LOG = "files.log"
VERSION = "1.0"
_NAME = re.compile(r"(?P<vendor>[A-Za-z0-9_.-]+)_(?P<stamp>\d{8}_\d{6})\.json")
_STAMP = "%Y%m%d_%H%M%S"
# Another program may be writing a file that cannot be read yet.
_SETTLED_NS = 60 * 10**9


class Entry(NamedTuple):
    """One file by its name."""

    path: Path
    vendor: str
    stamp_ms: int


class FundamentalsDocument(NamedTuple):
    """One file, read."""

    quality: float
    data_types: tuple[str, ...]
    snapshot: Snapshot
    inner: Mapping[str, Any]


def folders(root: Path, symbol: str) -> tuple[Path, Path]:
    """Return the folder of ``symbol``, and the one older tools used.

    Raises:
        BadSymbolError: it cannot name a folder.
    """
    name = encode_symbol(symbol)
    return root / FOLDER / name, root / name / FOLDER


def symbols(disk: Disk, root: Path) -> list[str]:
    """Return the symbols that have a folder, of either layout."""
    here = {decode_symbol(name) for name in disk.list(root / FOLDER) if name != QUARANTINE}
    older = {
        decode_symbol(name)
        for name in disk.list(root)
        if name[:1].isupper() and disk.stat(root / name / FOLDER) is not None
    }
    return sorted(symbol for symbol in here | older if symbol)


def file_name(vendor: str, stamp: datetime) -> str:
    """Return the name of the file in which ``vendor``'s word of that time is kept."""
    return f"{vendor}_{stamp.strftime(_STAMP)}.json"


@lru_cache(4096)
def _named(name: str) -> tuple[str, int] | None:
    """Return vendor and stamp of a file's name; None where it is not one of these.

    Raises:
        ValueError: its stamp is no time.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    vendor = canonical_vendor(match["vendor"]) or match["vendor"]
    return vendor, to_ms(datetime.strptime(match["stamp"], _STAMP))


def entries(disk: Disk, folder: Path, now_ms: int) -> Iterator[Entry]:
    """Yield the files of a folder; names with impossible stamps are skipped with a warning."""
    for name in disk.list(folder):
        try:
            named = _named(name)
        except ValueError:
            _warn_once(folder / name, "its name holds no time that there is")
            continue
        if named is None:
            continue
        if named[1] > now_ms + DAY_MS:
            _warn_once(folder / name, "its name holds a time to come")
            continue
        yield Entry(folder / name, *named)


def dump(
    vendor: str,
    symbol: str,
    data: Mapping[str, Any],
    stamp_ms: int,
    quality: float,
    data_types: tuple[str, ...],
) -> bytes:
    """Return the bytes of a file; they know whether they are whole."""
    head = {
        "provider": vendor,
        "symbol": symbol,
        "timestamp": _naive(stamp_ms),
        "cache_version": VERSION,
        "data_quality_score": quality,
        "data_types": list(data_types),
    }
    return json_document.dump({"metadata": head, "fundamentals": _json(data)})


def load(entry: Entry, data: bytes, symbol: str) -> FundamentalsDocument:
    """Read a file, of ours or of an older tool.

    Raises:
        CorruptEntryError: it is torn, damaged, of another shape or about another symbol.
    """
    try:
        document = json.loads(data)
        head, inner = document["metadata"], document["fundamentals"]
        if not isinstance(head, Mapping) or not isinstance(inner, Mapping):
            raise TypeError("neither its head nor its content is a mapping")
        if "sha256" in document:
            json_document.load(data)
        said = str(head.get("symbol") or symbol)
        if _alike(said) != _alike(symbol):
            raise ValueError(f"it is about {said}")
        snapshot = snapshot_of(entry.vendor, symbol, inner, _stamp_of(inner, entry.stamp_ms))
        types = tuple(map(str, head.get("data_types") or snapshot.data_types))
        quality = float(head.get("data_quality_score") or 0.0)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
        CorruptEntryError,
    ) as exc:
        raise CorruptEntryError(f"{entry.path.name} is no file of fundamentals: {exc}") from exc
    return FundamentalsDocument(quality, types, snapshot, inner)


def is_settled(disk: Disk, state: FileState) -> bool:
    """Tell whether a file is old enough not to be another program's that is still being written."""
    return disk.now_ns() - state.mtime_ns >= _SETTLED_NS


def payload(data: bytes | None) -> dict[str, Any] | None:
    """Return the content of a file; None where there is none, or none that can be believed."""
    try:
        document = json.loads(data or b"")
        if "sha256" in document:
            json_document.load(data or b"")
        inner = document["fundamentals"]
    except (ValueError, TypeError, KeyError, RecursionError, CorruptEntryError):
        return None
    return inner if isinstance(inner, dict) else None


def _stamp_of(inner: Mapping[str, Any], otherwise: int) -> int:
    """Return when the vendor was asked: as the content tells, else as the name does."""
    said = inner.get(METADATA)
    told = said.get("fetched_at") if isinstance(said, Mapping) else None
    return parse_iso(told) if isinstance(told, str) else otherwise


def _naive(stamp_ms: int) -> str:
    """Return a stamp as older tools write it, without a zone; it is UTC."""
    return from_ms(stamp_ms).isoformat()


def _alike(symbol: str) -> str:
    return re.sub(r"[-./]", "", symbol).upper()


def _json(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: no-number floats are null, the rest its text."""
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


_warned: set[Path] = set()


def _warn_once(path: Path, what: str) -> None:
    if path not in _warned:
        _warned.add(path)
        log.warning("%s/%s is skipped: %s", path.parent.name, path.name, what)
