"""Migration of HDF5 files to a bundle: verified, and reverted within seven days.

The original files are left unchanged. The bundle is written as one change, so a migration that is
killed leaves either the whole bundle or none.

HDF5 support is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..bundles.bundle import Bundle
from ..bundles.bundle_records import Records
from ..bundles.commit import BundleFiles
from ..bundles.folder import bundles_folder, registered
from ..bundles.hdf5_files import VOLUME, Hdf5Frame, is_hdf5_name, read_hdf5
from ..bundles.parquet_writer import ParquetWriter, parsed
from ..clock import Clock, SystemClock
from ..disk.files import Disk, FileState
from ..errors import BundleError, QueryError
from ..model.instant import DAY_MS, iso, parse_iso
from ..polars import pl  # its error names the missing extra
from ..polars.decimals import DecimalFrame, decimal_frame
from ..polars.schemas import FIELDS, PRICES
from .catalog import DataCatalog

__all__ = ["DAYS_TO_REVERT", "HDF5ToParquetMigrator", "hdf5_bundles"]

DAYS_TO_REVERT = 7
_COMPARED_ROWS = 1000
_FACTS_KEY = "migration"
_MB = 1_000_000
_SLICE_ROWS = 1 << 17
_SMALLEST_UNIT = Decimal(1).scaleb(-8)
# Bars with a problem are kept; each problem is counted.
_ANOMALIES = {
    "high below another price": pl.col("high") < pl.max_horizontal("open", "low", "close"),
    "low above another price": pl.col("low") > pl.min_horizontal("open", "close"),
    "price missing": pl.any_horizontal(pl.col(*PRICES).is_null()),
    "price not above zero": pl.any_horizontal(pl.col(*PRICES) <= 0),
    "volume missing": pl.col("volume").is_null(),
    "volume below zero": pl.col("volume") < 0,
}
_log = logging.getLogger(__name__)


class _Source(NamedTuple):
    """The bars in the files of a folder.

    Attributes:
        rows: All rows, sorted; of equal rows, only one is included.
        decimals: The same rows in their stored form, and the number of rounded values.
        timeframe: Timeframe of the bars.
        files: Maps the name of each file to its SHA256.
        states: Maps the path of each file to its state while it was read.
        repeated: Number of rows that were dropped because they equal another.
        skipped: Maps the path of each object that is not bars to the reason.
    """

    rows: pl.DataFrame
    decimals: DecimalFrame
    timeframe: str
    files: Mapping[str, str]
    states: Mapping[Path, FileState]
    repeated: int
    skipped: Mapping[str, str]


class HDF5ToParquetMigrator:
    """Converts the bars in a folder of HDF5 files to a bundle. Thread-safe.

    The files can come from pandas (``to_hdf``, fixed or table format) or from Zipline (daily bars).
    Files with pickled objects or with links are rejected; see :func:`.read_hdf5`.

    Args:
        source_bundle_dir: Folder with the HDF5 files, or a single file.
        output_bundle_dir: Folder of the new bundle; its last part is the bundle's name.
        folder: Bundles folder whose catalog lists the bundle if the bundle itself is elsewhere;
            None means the configured one.
        disk: File access; None is the file system.
        clock: Source of the current time; None is the system clock.

    Raises:
        QueryError: The name of the bundle is invalid, or the bundle's folder is a link or contains
            the files.
        BundleError: The files cannot be read.
    """

    def __init__(
        self,
        source_bundle_dir: str | PathLike[str],
        output_bundle_dir: str | PathLike[str],
        *,
        folder: str | PathLike[str] | None = None,
        disk: Disk | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._folder = bundles_folder(folder)
        self.source, output = Path(source_bundle_dir).absolute(), Path(output_bundle_dir).absolute()
        self._disk, self._clock = disk, clock or SystemClock()
        self.bundle = Bundle(output.name, output.parent, disk=disk, clock=clock)
        if self.bundle.path.is_symlink():
            raise QueryError(
                f"{self.bundle.path} is a link", hint="name the folder that it leads to, or another"
            )
        with _readable(self.source):
            is_inside = self.source.resolve().is_relative_to(self.bundle.path.resolve())
        if is_inside:
            raise QueryError(
                f"the HDF5 files in {self.source} are in the folder of the new bundle",
                hint="name another folder for the bundle; removing a bundle removes its folder",
            )

    def migrate(
        self,
        validate: bool = True,
        keep_hdf5: bool = True,
        compression: str = "zstd",
        compression_level: int = 3,
    ) -> dict[str, Any]:
        """Write the bundle; if these files have been migrated before, only verify it.

        Args:
            validate: Whether to read all files and the bundle again, and compare the number of
                rows, a SHA256 digest of all values, and 1,000 random bars. If they differ, the
                new bundle is removed.
            keep_hdf5: Whether the files are kept. If not, they are deleted after the comparison,
                unless they contain anything that is not in the bundle.
            compression, compression_level: ``zstd`` and 3, as in every bundle.

        Returns:
            ``row_count``; ``hdf5_size_mb`` and ``parquet_size_mb`` (millions of bytes);
            ``compression_ratio`` (Parquet divided by HDF5); and the keys of :meth:`check`.

        Raises:
            BundleError: The files cannot be migrated or deleted, the bundle contains something
                else, or the comparison failed.
            QueryError: An argument is invalid, or two different bars have the same time.
            DecimalRangeError: A value does not fit into a Decimal column.
            StorageError, LockTimeoutError: The bundle cannot be written; it does not exist.
        """
        if (compression, compression_level) != ("zstd", 3):
            raise QueryError(
                f"unsupported compression {compression!r}, level {compression_level!r}",
                hint="use zstd, level 3",
            )
        if not (keep_hdf5 or validate):
            raise QueryError("the HDF5 files are only deleted after a comparison: validate=True")
        source, is_new = self._read(), not self.bundle.exists()
        if is_new:
            self._write(source)
        self._register()
        records = self._records(source)
        if validate:
            try:
                source = self._read()
                self._verify(source, records)
            except BundleError:
                if is_new:
                    self.bundle.remove()
                raise
        if not keep_hdf5:
            self._delete(source)
        return self._result(source, records)

    def _delete(self, source: _Source) -> None:
        """Delete the files, provided that they contain nothing but bars and are as they were compared.

        Raises:
            BundleError: A file contains something else, so nothing is deleted; or a file has been
                changed, so it and those after it are not deleted.
        """
        others = [item for item in source.skipped.items() if not item[0].endswith(VOLUME)]
        if others:
            raise BundleError(
                f"the HDF5 files in {self.source} were not deleted: {others[0][0]} {others[0][1]}",
                hint="the bundle is complete; save what is not in it, then delete the files by hand",
            )
        disk = self._disk or Disk()
        for path, state in source.states.items():
            if disk.stat(path) != state:
                raise BundleError(
                    f"{path.name} was not deleted: it was changed after the comparison",
                    hint="the bundle has the bars from before; migrate the files that are left again",
                )
            disk.remove(path)

    def check(self) -> dict[str, Any]:
        """Read the files and compare them with the bundle if it exists; no bar is written.

        Returns:
            ``bundle`` and ``path``; ``state``: ``new`` or ``migrated``; ``row_count``;
            ``symbols``, the number of symbols; ``timeframe``; ``rounded``, values with more than
            eight decimals; ``repeated``, rows that are dropped because they equal another;
            ``anomalies``, the number of bars with each problem; and ``skipped``, the reason for
            everything in the files that is not bars.

        Raises:
            BundleError, QueryError, DecimalRangeError: See :meth:`migrate`.
        """
        source = self._read()
        if not self.bundle.exists():
            return self._result(source, None)
        records = self._records(source)
        self._verify(source, records)
        return self._result(source, records)

    def revert(self) -> None:
        """Remove the bundle; the HDF5 files must exist and be unchanged.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: The bundle was not made by a migration of these files, the migration is
                more than seven days ago, or the bundle has been changed since.
            StorageError, LockTimeoutError: Some files could not be removed.
        """
        records = self.bundle.records()
        facts = self._facts(records)
        age = self._clock.now_ms() - parse_iso(facts["time"])
        if age > DAYS_TO_REVERT * DAY_MS:
            raise BundleError(
                f"bundle {self.bundle.name} was migrated on {facts['time'][:10]}, more than "
                f"{DAYS_TO_REVERT} days ago",
                hint=f"to remove it anyway, delete the folder {self.bundle.path} by hand",
            )
        source = self._read()
        self._verify(source, self._records(source))
        self.bundle.remove()

    # --- reading ---------------------------------------------------------------------------

    def _paths(self) -> list[Path]:
        """Return the HDF5 files.

        Raises:
            BundleError: No HDF5 files were found.
        """
        with _readable(self.source):
            paths = [self.source] if self.source.is_file() else _hdf5_in(self.source)
        if not paths:
            below = hdf5_bundles(self.source)
            raise BundleError(
                f"no HDF5 files were found in {self.source}",
                hint=f"name one of its folders, such as {below[0].name}" if below else None,
            )
        return paths

    def _read(self) -> _Source:
        """Read all files, and check that they contain bars of only one kind."""
        frames, files, states, skipped = [], {}, {}, {}
        keys: dict[str, tuple[str, str]] = {}
        for path in self._paths():
            content = read_hdf5(path, self._disk)
            for frame in filter(lambda frame: len(frame.rows), content.frames):
                frames.append(frame.rows)
                _check_key(keys, frame, path)
            skipped.update({f"{path.name}:{at}": why for at, why in content.skipped.items()})
            files[path.name], states[path] = content.sha256, content.state
        if not frames:
            raise BundleError(
                f"no bars were found in the HDF5 files in {self.source}",
                hint="; ".join(f"{at} {why}" for at, why in [*skipped.items()][:3]) or None,
            )
        column_pairs = {tuple(frame.columns[:2]) for frame in frames}
        if len(column_pairs) > 1:
            raise BundleError(
                f"{self.source} contains different kinds of bars: "
                + ", ".join(sorted(f"{time} by {key}" for time, key in column_pairs)),
                hint="put each kind into a folder of its own",
            )
        key = list(column_pairs.pop())
        every = pl.concat(frames, how="diagonal_relaxed")
        rows = every.unique(maintain_order=True)
        doubled = rows.filter(rows.select(key).is_duplicated())
        if len(doubled):
            raise QueryError(
                f"two different rows for {doubled[key[1]][0]} at {doubled[key[0]][0]}",
                hint="keep only one of them; nothing was written",
            )
        if sum(rows.select(key).null_count().row(0)):
            raise BundleError(f"rows in {self.source} have no {key[0]} or no {key[1]}")
        rows = rows.select(*key, *FIELDS, *sorted({*rows.columns} - {*key, *FIELDS}))
        rows = rows.sort(key[::-1])
        decimals, repeated = decimal_frame(rows), len(every) - len(rows)
        return _Source(rows, decimals, _timeframe(rows), files, states, repeated, skipped)

    def _facts(self, records: Records) -> Mapping[str, Any]:
        """Return the facts about the migration that made the bundle.

        Raises:
            BundleError: The bundle was not made by a migration.
        """
        facts: Any = records.origin.source.get(_FACTS_KEY)
        try:
            parse_iso(facts["time"])
            return {"files": {}, **facts}
        except (TypeError, ValueError, KeyError, AttributeError):
            raise BundleError(
                f"bundle {self.bundle.name} exists, and was not migrated from HDF5 files",
                hint="name another folder for the new bundle",
            ) from None

    def _records(self, source: _Source) -> Records:
        """Return the records of the bundle, which must have been made from the same files."""
        records = self.bundle.records()
        before = self._facts(records)["files"]
        if before != dict(source.files):
            raise BundleError(
                f"bundle {self.bundle.name} was migrated from files other than those in {self.source}",
                hint="name another folder for the new bundle, or the folder with the original files",
            )
        return records

    # --- writing and comparing -------------------------------------------------------------

    def _write(self, source: _Source) -> None:
        path = self.bundle.path
        if path.exists() and not path.is_dir():
            raise BundleError(f"{path} is a file, not a folder", hint="name a new folder")
        if path.exists() and any(path.iterdir()) and not BundleFiles(path).has_traces():
            raise BundleError(
                f"the folder {path} is not empty, and is not a bundle",
                hint="name a new folder; removing a bundle removes its folder",
            )
        facts = {"time": iso(self._clock.now_ms()), "files": dict(source.files)}
        writer = ParquetWriter(path, disk=self._disk, clock=self._clock)
        writer.write(source.rows, source.timeframe, {"source_type": "hdf5", _FACTS_KEY: facts})

    def _register(self) -> None:
        """Register the bundle if it is outside the bundles folder."""
        name, path = self.bundle.name, self.bundle.path
        if path.parent != self._folder and registered(self._folder).get(name) != path:
            DataCatalog(folder=self._folder).register_bundle(name, path)

    def _verify(self, source: _Source, records: Records) -> None:
        """Compare the bundle with the files by the number of rows, a digest, and random bars.

        Raises:
            BundleError: The bundle differs from the files.
        """
        if problems := self.bundle.validate():
            raise self._differs(f"{problems[0].place} {problems[0].what}")
        stored = self._stored_rows(source.rows.columns, records)
        if len(stored) != len(source.rows):
            raise self._differs(f"it has {len(stored):,} bars, not {len(source.rows):,}")
        wide = records.origin.wide_volume
        expected = decimal_frame(source.decimals.frame, wide_volume=wide).frame
        if _digest(stored) != _digest(expected):
            raise self._differs("its values have a different SHA256")
        for at in random.sample(range(len(stored)), min(_COMPARED_ROWS, len(stored))):
            row, original = stored.row(at, named=True), source.rows.row(at, named=True)
            for name in FIELDS:
                if not _is_same(original[name], row[name]):
                    raise self._differs(
                        f"the {name} of {stored.row(at)[:2]} is {row[name]}, not {original[name]}"
                    )

    def _stored_rows(self, columns: list[str], records: Records) -> pl.DataFrame:
        """Return all rows of the bundle in the same form as the source's rows."""
        disk, path = self._disk or Disk(root=self.bundle.path), self.bundle.path
        parts = [parsed(disk.read(path / file), f"{path.name}/{file}") for file in records.files]
        whole = pl.concat(parts, how="diagonal_relaxed")
        if columns[1] == "symbol":
            names = pl.col("sid").replace_strict(records.names(), return_dtype=pl.String)
            whole = whole.with_columns(names.alias("symbol"))
        missing = [pl.lit(None).alias(name) for name in columns if name not in whole.columns]
        return whole.with_columns(missing).select(columns).sort(columns[1], columns[0])

    def _differs(self, difference: str) -> BundleError:
        return BundleError(
            f"bundle {self.bundle.name} differs from the HDF5 files in {self.source}: {difference}",
            hint="the HDF5 files were not changed",
        )

    def _result(self, source: _Source, records: Records | None) -> dict[str, Any]:
        rows, rounded = source.decimals
        counts = {what: int(rows.select(odd.sum()).item()) for what, odd in _ANOMALIES.items()}
        anomalies = {what: count for what, count in counts.items() if count}
        for what, count in anomalies.items():
            _log.warning("%s: %s in %d bars", self.bundle.name, what, count)
        size = sum(record.size_bytes for record in records.files.values()) if records else 0
        size_before = sum(state.size for state in source.states.values())
        sizes = {
            "hdf5_size_mb": size_before / _MB,
            "parquet_size_mb": size / _MB,
            "compression_ratio": size / size_before,
        }
        return {
            "bundle": self.bundle.name,
            "path": str(self.bundle.path),
            "state": "migrated" if records else "new",
            "row_count": len(rows),
            **(sizes if records else {}),
            "symbols": rows[rows.columns[1]].n_unique(),
            "timeframe": source.timeframe,
            "rounded": rounded,
            "repeated": source.repeated,
            "anomalies": anomalies,
            "skipped": dict(source.skipped),
        }


def hdf5_bundles(folder: str | PathLike[str]) -> list[Path]:
    """Return the sorted folders in a folder that contain HDF5 files.

    Raises:
        BundleError: The folder cannot be read.
    """
    root = Path(folder)
    with _readable(root):
        below = sorted(root.iterdir()) if root.is_dir() else []
        return [
            path for path in below if path.is_dir() and not path.is_symlink() and _hdf5_in(path)
        ]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Return a context manager that raises a :class:`BundleError` if ``path`` is inaccessible."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # such as a link that leads to itself
        raise BundleError(f"{path!s:.200} cannot be read: {error!s:.200}") from error


def _hdf5_in(folder: Path) -> list[Path]:
    try:
        names = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in names if is_hdf5_name(path.name)]


def _check_key(keys: dict[str, tuple[str, str]], frame: Hdf5Frame, path: Path) -> None:
    """Check that two frames whose keys name the same symbol have the same key, and add the frame's key.

    Args:
        keys: Maps each symbol to the key and the file that named it first.
        frame: Frame to check.
        path: File of the frame.

    Raises:
        BundleError: The keys differ.
    """
    key, name = keys.setdefault(frame.symbol, (frame.key, path.name))
    if frame.symbol and key != frame.key:
        raise BundleError(
            f"both {name}:{key} and {path.name}:{frame.key} would become the symbol {frame.symbol}",
            hint="write the bars again under keys that end with different symbols",
        )


def _timeframe(rows: pl.DataFrame) -> str:
    """Return the timeframe of rows that are sorted by symbol and time.

    For intraday bars, it is the longest timeframe that divides every distance between two bars; for
    longer bars, it depends on the shortest distance.

    Raises:
        BundleError: Times include seconds, or daily bars have times other than midnight.
    """
    time, key = rows.columns[:2]
    stamps = rows[time].cast(pl.Datetime("us")).cast(pl.Int64).to_numpy() / 1e6
    is_same = (rows[key] == rows[key].shift(1)).fill_null(False).to_numpy()
    steps = np.unique(np.diff(stamps)[is_same[1:]]).astype(np.int64)
    if time == "date":
        days = int(steps[0]) // 86_400 if len(steps) else 1
        return "1d" if days < 5 else "1w" if days < 20 else "1M"
    every = int(np.gcd.reduce(steps)) if len(steps) else 60
    if (stamps % 60).any() or every % 86_400 == 0:
        raise BundleError(
            "the times of the bars are neither whole minutes within a day nor midnight",
            hint="daily bars need the date of their session, at midnight",
        )
    return f"{every // 60}m"


def _digest(rows: pl.DataFrame) -> str:
    """Return the SHA256 of all values of sorted rows, as text."""
    whole = hashlib.sha256()
    for rows_slice in rows.iter_slices(_SLICE_ROWS):
        whole.update(rows_slice.write_csv(include_header=False).encode())
    return whole.hexdigest()


def _is_same(original: Any, stored: Decimal | None) -> bool:
    """Return whether a Decimal equals the number in the file, rounded to eight decimals."""
    if original is None or original != original:
        return stored is None
    return stored is not None and abs(Decimal(repr(original)) - stored) <= _SMALLEST_UNIT
