"""Exports the record and bars of a run to a folder, verifiable without the store or a network."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..disk.atomic import write_atomically
from ..disk.files import Disk
from ..errors import CorruptEntryError, FormatVersionError, QueryError, StorageError
from ..model.bars import BarTable
from ..model.reads import digest_of
from .lineage_check import COLUMNS, of_then
from .lineage_lines import FORMAT, INVALID_RECORD_ERRORS, RunRecord, SeriesRead, with_unstored

if TYPE_CHECKING:
    from ..bars.client import BarsClient

RECORD = "lineage.json"
_CSV_HEADER = ",".join(("timestamp_ms", *COLUMNS))
_BARS_FILE = re.compile(r"bars-\d{4,9}\.csv")


def fingerprint_of_run(reads: Sequence[SeriesRead]) -> str:
    """Return one digest for everything that a run read: series, ranges and bar digests.

    The digest is ``sha256:`` and 64 hex digits. It does not depend on generations or times, so two
    runs that read the same bars have the same digest.
    """
    lines = {
        f"{read.series}|{read.adjustment}|{piece.span.start}|{piece.span.end}|{piece.digest}"
        f"|{[tuple(row) for row in read.unstored]}"
        for read in reads
        for piece in read.pieces
    }
    return f"sha256:{hashlib.sha256(chr(10).join(sorted(lines)).encode()).hexdigest()}"


def export(client: BarsClient, record: RunRecord, folder: str | os.PathLike[str]) -> Path:
    """Write the record of a run and its bars to a new folder; return its path.

    ``lineage.json`` contains the record and, for each read, the name of a CSV file with the bars
    that the run received. Each line is a bar, with its stamp in UTC milliseconds; floats are
    written so that they are bit-for-bit identical when read back.

    Args:
        client: Client that reads the stored bars.
        record: Record of the run.
        folder: Folder, which must not exist or must be empty.

    Raises:
        QueryError: The folder is not empty, or some of the run's bars no longer exist; nothing is
            written.
        StorageError: A file could not be written to disk. Without ``lineage.json``, which is
            written last, the folder is not an export.
    """
    disk, path = Disk(), Path(folder).expanduser().absolute()
    try:
        is_taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror}") from exc
    if is_taken:
        raise QueryError(
            f"{path} already exists and is not an empty folder",
            hint="name a folder that does not exist or is empty",
        )
    tables = [bars_of(client, read) for read in record.reads]
    disk.make_folders(path)
    entries = []
    for number, (read, table) in enumerate(zip(record.reads, tables, strict=True)):
        name = f"bars-{number:04d}.csv"
        write_atomically(disk, path / name, _csv(table).encode())
        entries.append({**read.to_json(), "file": name})
    document = {**record.to_json(), "reads": entries, "format": FORMAT}
    document["fingerprint"] = fingerprint_of_run(record.reads)
    write_atomically(disk, path / RECORD, json.dumps(document, indent=1).encode() + b"\n")
    return path


def bars_of(client: BarsClient, read: SeriesRead) -> BarTable:
    """Return the bars in one recorded read as the run received them.

    Raises:
        QueryError: The bars no longer exist.
    """
    if not read.pieces:
        return BarTable.empty()
    if read.not_listed:
        raise QueryError(
            f"{read.series} cannot be exported: {read.not_listed} of its bars were never stored"
        )
    then, why = of_then(client, read)
    if then is None:
        raise QueryError(f"{read.series} cannot be exported as it was read: {why}")
    return with_unstored(read, then.table)


def _csv(table: BarTable) -> str:
    rows = zip(*(column.tolist() for column in (table.stamps, *table.values()[:5])), strict=True)
    lines = (",".join("" if v != v else repr(v) for v in row) for row in rows)
    return "\n".join([_CSV_HEADER, *lines]) + "\n"


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
    try:
        document = json.loads(disk.read(path / RECORD))
        if document["format"] > FORMAT:
            raise FormatVersionError(
                f"{path} has format {document['format']}; this version reads up to {FORMAT}",
            )
        reads = [
            (SeriesRead.from_json(e), _read_csv(disk.read(path / _name_of(e["file"])).decode()))
            for e in document["reads"]
        ]
        fingerprint = fingerprint_of_run([read for read, _ in reads])
    except (*INVALID_RECORD_ERRORS, RecursionError) as exc:
        raise CorruptEntryError(f"{path / RECORD} cannot be parsed: {exc!r:.200}") from exc
    for read, table in reads:
        stored = table.take(~np.isin(table.stamps, [row.stamp_ms for row in read.unstored]))
        for piece, digest in zip(read.pieces, _digests(read, stored), strict=True):
            if piece.digest != digest:
                raise CorruptEntryError(
                    f"the bars for {read.series} in {path} differ from the recorded ones"
                )
    if document["fingerprint"] != fingerprint:
        raise CorruptEntryError(f"the record in {path} differs from the exported one")
    return document, reads


def _name_of(file: Any) -> str:
    """Check and return the name of a bar file, which must be in the same folder as the record.

    Raises:
        ValueError: The value is not the name of a bar file.
    """
    if not isinstance(file, str) or not _BARS_FILE.fullmatch(file):
        raise ValueError(f"invalid name for a bar file: {file!r:.40}")
    return file


def _digests(read: SeriesRead, table: BarTable) -> Iterator[str]:
    return (digest_of([table.within(piece.span)]) for piece in read.pieces)


def _read_csv(text: str) -> BarTable:
    head, *lines = text.splitlines()
    if head != _CSV_HEADER:
        raise ValueError(f"unexpected columns {head!r}")
    rows = [line.split(",") for line in lines]
    stamps = np.array([int(row[0]) for row in rows], dtype=np.int64)
    columns = [
        np.array([float(row[at]) if row[at] else float("nan") for row in rows], dtype=np.float64)
        for at in range(1, 6)
    ]
    return BarTable.of_columns(stamps, columns)
