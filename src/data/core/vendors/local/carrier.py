"""Answers requests from a folder of files; tables are returned as CSV text."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit

from ....errors import (
    DataError,
    MissingExtraError,
    ProviderTimeoutError,
    ResponseFormatError,
    UnavailableError,
    install_line,
)
from ...clock import Clock, SystemClock
from ...disk.calls import is_file, open_file, or_none
from ...model.request.http import HttpRequest, HttpResponse
from ...net.calls.deadline import check_time
from ...net.http.http import MEBIBYTE
from ...net.http.source_files import FileStamp, has_rested, stamp_of

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".feather")
# Files with Arrow tables, which are read as comma-separated text.
OF_ARROW = SUFFIXES[2:]
# Parameter of a request: a part of the name whose case matters, such as ``1m``, which is not ``1M``.
AS_WRITTEN = "as_written"
_CSV = {"content-type": "text/csv"}
# Largest ratio of a table to its compressed file; for tables of bars it is about ten.
_MOST_INFLATED = 64
_ALWAYS_INFLATED = 64 * MEBIBYTE
_ROWS_AT_ONCE = 10_000
# Number of attempts to read a file that is being written to.
_MOST_READINGS = 3
# Number of tables whose text is kept in memory until their files change.
_MOST_TABLES = 2
# Header of a response: the digest of its body.
VERSION = "etag"


class _Table(NamedTuple):
    """A file's table.

    Attributes:
        stamp: State of the file on disk.
        is_settled: Whether a later change would alter that state.
        digest: Digest of the text.
        body: The text, if it is kept.
    """

    stamp: FileStamp
    is_settled: bool
    digest: str
    body: bytes | None


class FileCarrier:
    """Answers ``file:`` requests from one folder. Thread-safe.

    If a name has no known extension, each of :data:`SUFFIXES` is tried; if no file matches exactly,
    case is ignored, except in the request's parameter :data:`AS_WRITTEN`, a part of the name.
    Nothing outside the folder is ever read. A file is read again only if its
    times, size or inode have changed.

    Args:
        folder: Folder that contains the files.
        max_bytes: Size limit of an uncompressed table.
        clock: Clock that measures the time since a file's last change; None for the system clock.
    """

    def __init__(
        self, folder: Path, max_bytes: int = 1024 * MEBIBYTE, clock: Clock | None = None
    ) -> None:
        self._named = folder.expanduser().absolute()
        self._identity = _identity(self._named)
        self._folder = self._named.resolve()
        self._max_bytes = max_bytes
        self._clock = clock or SystemClock()
        self._tables: dict[Path, _Table] = {}
        self._paths: dict[str, Path] = {}

    @property
    def folder(self) -> Path:
        """The real path of the folder."""
        return self._folder

    @property
    def is_there(self) -> bool:
        """Whether the folder's path still leads to the same folder.

        It leads elsewhere if, for example, it contains a symbolic link whose target has changed.
        The check takes one `stat`, unless the folder has changed.
        """
        identity = _identity(self._named)
        if identity != self._identity:
            if self._named.resolve() != self._folder:
                return False
            # Taken before the path was resolved, so that a later change is noticed at the next
            # check.
            self._identity = identity
        return True

    def version(self, request: HttpRequest) -> str:
        """Return the digest of the requested file's table; empty if the file does not exist.

        If the file is known and has not changed, this takes only one ``stat`` call. A file that
        cannot be read has another version each time that it changes.

        Args:
            request: Request for the file, as for :meth:`send`.
        """
        name = _name_in(request)
        path = self._paths.get(name)
        try:
            if path is None or not (known := self._digest_now(path)):
                path = self._find(name, request)
                if path is None:
                    return ""
                # If this is not the first name tried, another file may take its place later.
                if path.name == _spellings(Path(name).name)[0]:
                    self._paths[name] = path
                known = self._digest_now(path)
            return known
        except ProviderTimeoutError:  # only the times show whether a table that was read is current
            table = self._tables.get(path) if path is not None else None
            return table.digest if table is not None and table.stamp == _stamp_now(path) else ""
        except (DataError, OSError, EOFError, zlib.error):  # reading the file raises the error
            return f"unreadable {_stamp_now(path)}"

    def _digest_now(self, path: Path) -> str:
        """Return the digest of a file's table, or an empty string if the file no longer exists."""
        try:
            return self._table(path, is_digest_enough=True).digest
        except FileNotFoundError:
            return ""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the requested file's table with status 200; the status is 404 if it does not exist.

        Raises:
            UnavailableError: The file cannot be read, or it changed during every attempt.
            ProviderTimeoutError: The call has run out of time.
            ResponseFormatError: The file is damaged or too large.
            MissingExtraError: The file is Parquet or Feather and pyarrow is not installed.
        """
        name = _name_in(request)
        try:
            path = self._find(name, request)
            if path is None:
                return HttpResponse(404, url=request.url)
            table = self._table(path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
            raise ResponseFormatError(f"{name:.80} is not a complete gzip file") from exc
        except OSError as exc:
            raise UnavailableError(f"{name:.80} cannot be read: {exc.strerror}") from exc
        headers = {**_CSV, VERSION: table.digest}
        return HttpResponse(200, headers, table.body or b"", f"file:///{path.name}")

    def _find(self, name: str, request: HttpRequest) -> Path | None:
        """Return the path of the file for ``name``, ignoring case; None if there is none in the folder."""
        wanted, part = self._folder / name, str(request.params.get(AS_WRITTEN, ""))
        names = _spellings(wanted.name)
        folder = wanted.parent.resolve()
        if or_none(os.stat, f"{folder}/.") is None:
            return None
        there = os.listdir(folder) if part else names  # the file system may ignore case
        exact = [candidate for candidate in names if candidate in there]
        for candidate in exact:
            if is_file(path := folder / candidate) and self._is_inside(path):
                return path
        folded = {candidate.casefold() for candidate in names}
        alike = (path for path in folder.iterdir() if path.name.casefold() in folded)
        places = [at for at in range(len(wanted.name)) if part and wanted.name.startswith(part, at)]
        paths = sorted(p for p in alike if all(p.name.startswith(part, at) for at in places))
        return next((path for path in paths if is_file(path) and self._is_inside(path)), None)

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._folder)

    def _table(self, path: Path, *, is_digest_enough: bool = False) -> _Table:
        """Return a file's table, which is kept in memory until the file changes.

        Only the digests of most tables are kept. With ``is_digest_enough``, the result may be one of
        these, and a file that has just been changed is read again, because its times prove nothing.
        """
        known = self._tables.get(path)
        for _ in range(_MOST_READINGS):
            stamp = stamp_of(path.stat())
            if known is not None and known.stamp == stamp:
                is_enough = known.is_settled if is_digest_enough else known.body is not None
                if is_enough:
                    return known
            body = self._read(path)
            if stamp_of(path.stat()) == stamp:
                break
        else:  # a partly written number would be read as a different number
            raise UnavailableError(f"{path.name:.80} changed while it was being read")
        is_settled = has_rested(stamp, self._clock.now_ms())
        table = _Table(stamp, is_settled, sha256(body).hexdigest(), body)
        others = {at: other for at, other in list(self._tables.items()) if at != path}
        for at in [at for at, other in others.items() if other.body is not None][
            : 1 - _MOST_TABLES
        ]:
            others[at] = others[at]._replace(body=None)
        self._tables = others | {path: table}
        return table

    def _read(self, path: Path) -> bytes:
        most = self._max_bytes
        blocks, size = list[bytes](), 0
        with open(
            path, "rb", opener=lambda name, _: open_file(name, os.O_RDONLY, follow=True)
        ) as raw:
            if path.suffix != ".csv":
                on_disk = os.fstat(raw.fileno()).st_size
                most = min(most, max(_ALWAYS_INFLATED, _MOST_INFLATED * on_disk))
            is_table = path.suffix in OF_ARROW
            for block in _table_as_csv(path, raw, most) if is_table else _blocks(path, raw):
                check_time("local")
                size += len(block)
                if size > most:
                    raise _size_error(path, most)
                blocks.append(block)
        return b"".join(blocks)


def _name_in(request: HttpRequest) -> str:
    return unquote(urlsplit(request.url).path).lstrip("/")


def _spellings(name: str) -> list[str]:
    """Return the possible names of a file, in the order in which they are tried."""
    return [name] if name.endswith(SUFFIXES) else [name + suffix for suffix in SUFFIXES]


def _identity(folder: Path) -> tuple[int, ...]:
    """Return values that change if the path leads to a different folder, or if the folder changes."""
    try:
        status = os.stat(folder)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _stamp_now(path: Path | None) -> FileStamp:
    try:
        return () if path is None else stamp_of(os.stat(path))
    except OSError:
        return ()


def _blocks(path: Path, raw: BinaryIO) -> Iterator[bytes]:
    """Yield the text of a CSV file in blocks of one mebibyte."""
    file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
    while block := file.read(MEBIBYTE):
        yield block


def _size_error(path: Path, most: int) -> ResponseFormatError:
    return ResponseFormatError(f"{path.name} contains more than {most // MEBIBYTE} MiB")


def read_columns(
    body: bytes,
    delimiter: str,
    places: Sequence[int],
    types: dict[int, Any],
    numbers: Sequence[int],
) -> pd.DataFrame:
    """Return the rows of a CSV file as a frame whose columns are named by their positions.

    Args:
        body: Content of the file, with a header.
        delimiter: Field separator.
        places: Positions of the columns.
        types: Types of columns; those of others are inferred.
        numbers: Columns in which an empty field is NaN.

    Raises:
        ValueError: A field is not of its column's type, or a row has too many fields.
    """
    import pandas as pd

    options: dict[str, Any] = {
        "sep": delimiter,
        "header": 0,
        "names": list(places),
        "dtype": types,
        "keep_default_na": False,
        "na_values": {at: [""] for at in numbers},
    }
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        options["float_precision"] = "round_trip"  # newer versions always round correctly
    frame: pd.DataFrame = pd.read_csv(io.BytesIO(body), **options)
    return frame


def _table_as_csv(path: Path, raw: BinaryIO, most: int) -> Iterator[bytes]:
    """Yield a Parquet or Feather table as CSV text, in blocks, with its numbers in full precision."""
    format_name = path.suffix.removeprefix(".").capitalize()
    try:
        import pyarrow as pa
        from pyarrow import compute, csv, dataset, ipc, parquet
    except ImportError as exc:
        raise MissingExtraError(
            f"reading {format_name} files needs pyarrow", hint=install_line("parquet")
        ) from exc
    try:
        is_parquet = path.suffix == ".parquet"
        # A block of a Feather file is decompressed whole, so its rows are counted before.
        rows = 0 if is_parquet else dataset.IpcFileFormat().make_fragment(raw).count_rows()
        with parquet.ParquetFile(raw) if is_parquet else ipc.open_file(raw) as file:
            if is_parquet:
                head, batches = file.schema_arrow.empty_table(), file.iter_batches(_ROWS_AT_ONCE)
            else:
                head = file.schema.empty_table()
                if rows * len(head.columns) > most:  # a field has at least its delimiter
                    raise _size_error(path, most)
                blocks = map(file.get_batch, range(file.num_record_batches))
                batches = chain.from_iterable(
                    (block.slice(at, _ROWS_AT_ONCE) for at in range(0, len(block), _ROWS_AT_ONCE))
                    for block in blocks
                )
            for number, batch in enumerate(chain([head], batches)):
                text = io.BytesIO()
                for at, column in enumerate(batch.schema):
                    if pa.types.is_timestamp(column.type) and column.type.tz not in (None, "UTC"):
                        # Otherwise written in UTC, in which midnight may have another date.
                        local = compute.strftime(batch.column(at), format="%Y-%m-%dT%H:%M:%S%z")
                        batch = batch.set_column(at, column.name, local)
                csv.write_csv(batch, text, csv.WriteOptions(include_header=number == 0))
                yield text.getvalue()
    except (pa.ArrowException, OSError) as exc:
        if getattr(exc, "errno", None) is not None:  # an error from the disk, not from the content
            raise
        raise ResponseFormatError(f"{path.name} is not a readable {format_name} table") from exc
