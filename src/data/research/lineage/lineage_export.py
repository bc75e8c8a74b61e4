"""Exports the record and bars of a run to a folder, verifiable without the store or a network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from ...core.config.terms import terms_of
from ...core.disk.atomic import csv_text, put_folder
from ...core.disk.files import Disk
from ...core.model.market.bars import BarTable
from ...errors import CorruptEntryError, QueryError
from .lineage_check import COLUMNS, of_then
from .run_records import RunRecord, SeriesRead, record_from

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient

RECORD = "lineage.json"
_COLUMNS = ("timestamp_ms", *COLUMNS)
_NAME = "bars-{:04d}.csv"


def fingerprint_of_run(reads: Sequence[SeriesRead]) -> str:
    """Return one digest for everything that a run read: series, ranges and bar digests.

    The digest is ``sha256:`` and 64 hex digits. It does not depend on generations or times, so two
    runs that read the same bars have the same digest.
    """
    lines = {repr((r.series, r.adjustment, *p, r.unstored)) for r in reads for p in r.pieces}
    return f"sha256:{hashlib.sha256(chr(10).join(sorted(lines)).encode()).hexdigest()}"


def export(client: BarsClient, record: RunRecord, folder: str | os.PathLike[str]) -> Path:
    """Write the record of a run and its bars to a new folder; return its path.

    ``lineage.json`` contains the record. For each of its reads, in their order, ``bars-0000.csv``
    and so on contain the bars that the run received. Each line is a bar, with its stamp in UTC
    milliseconds; floats are written so that they are bit-for-bit identical when read back. ``terms``
    in the record say what the vendors state about the use of their data.

    Args:
        client: Client that reads the stored bars.
        record: Record of the run.
        folder: Folder, which must not exist or must be empty.

    Raises:
        QueryError: Some of the run's bars no longer exist; nothing is written.
        StorageError: The folder is not empty, or cannot be written; nothing is left behind.
    """
    found = [_with_vendors(client, read) for read in record.reads]
    files = {_NAME.format(number): _csv(table).encode() for number, (table, _) in enumerate(found)}
    document = {**record.to_json(), "fingerprint": fingerprint_of_run(record.reads)}
    document["terms"] = terms_of(vendor for _, vendors in found for vendor in vendors)
    files[RECORD] = json.dumps(document, indent=1).encode() + b"\n"
    path = Path(folder).expanduser().absolute()
    Disk().make_folders(path.parent)
    return put_folder(path, files)


def bars_of(client: BarsClient, read: SeriesRead) -> BarTable:
    """Return the bars in one recorded read as the run received them.

    Raises:
        QueryError: The bars no longer exist.
    """
    return _with_vendors(client, read)[0]


def _with_vendors(client: BarsClient, read: SeriesRead) -> tuple[BarTable, set[str]]:
    """Return the bars in one recorded read, and their vendors; see :func:`bars_of`."""
    if not read.pieces:
        return BarTable.empty(), set()
    then, _, why = of_then(client, read)
    if then is None:
        raise QueryError(f"{read.series} cannot be exported as it was read: {why}")
    return read.with_unstored(then.table), {entry.vendor for entry in then.coverage} - {""}


def _csv(table: BarTable) -> str:
    columns = dict(zip(_COLUMNS, (table.stamps, *table.values()), strict=False))
    return csv_text(pd.DataFrame(columns).set_index(_COLUMNS[0]))


def exported(
    folder: str | os.PathLike[str],
) -> tuple[dict[str, Any], list[tuple[SeriesRead, BarTable]]]:
    """Return the contents of an export: the record as a dict, and each read with its bars.

    The digests of the bars, and from them the fingerprint of the run, are recomputed; neither the
    store nor the network is needed.

    Raises:
        CorruptEntryError: The export is incomplete, or a bar in it differs from the recorded one.
        FormatVersionError: The export was written by a newer version of this library.
        StorageError: The export cannot be read.
    """
    disk, path = Disk(), Path(folder).expanduser()
    data = disk.read(path / RECORD)
    record = record_from(data, path / RECORD)
    document: dict[str, Any] = msgspec.json.decode(data)
    if document.get("fingerprint") != fingerprint_of_run(record.reads):
        raise CorruptEntryError(f"the record in {path} differs from the exported one")
    reads = []
    for number, read in enumerate(record.reads):
        file = path / _NAME.format(number)
        try:
            table = _read_csv(disk.read(file))
            aside = [row.stamp_ms for row in read.unstored]
            is_same = read.pieces_of(table.take(~np.isin(table.stamps, aside))) == read.pieces
        except (ValueError, OverflowError, IndexError) as exc:
            raise CorruptEntryError(f"{file} cannot be parsed: {exc!r:.200}") from exc
        if not is_same:
            raise CorruptEntryError(
                f"the bars for {read.series} in {path} differ from the recorded ones"
            )
        reads.append((read, table))
    return document, reads


def _read_csv(data: bytes) -> BarTable:
    frame = pd.read_csv(BytesIO(data), dtype=str)
    if tuple(frame) != _COLUMNS:
        raise ValueError(f"unexpected columns {list(frame)!r}")
    stamps = np.array([int(text) for text in frame[_COLUMNS[0]]], dtype=np.int64)
    columns = [np.array([float(text) for text in frame[name]], np.float64) for name in COLUMNS]
    return BarTable.of_columns(stamps, columns)
