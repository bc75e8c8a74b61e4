"""Migration of HDF5 files to a bundle: verified, and reverted within seven days.

The bundle is written as one change, so a migration that is killed leaves either the whole bundle or
none. The original files are left unchanged unless their deletion is requested.

HDF5 support is provisional: a minor release may change its names, results and stored data.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
from collections.abc import Mapping
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from ...core.clock import Clock, SystemClock
from ...core.disk.files import Disk, FileState
from ...core.model.time.instant import DAY_MS, iso
from ...errors import BundleError, QueryError
from ..bundles.bundle import Bundle
from ..bundles.bundle_records import parsed
from ..bundles.bundle_writer import ParquetWriter, checked_rows
from ..bundles.hdf5 import hdf5_files, read_hdf5
from ..frames.frames import (
    FIELDS,
    PRICES,
    DecimalFrame,
    decimal_frame,
    pl,  # its error names the missing extra
)
from ..settings.folder import bundles_folder, registered
from .catalog import DataCatalog

__all__ = ["DAYS_TO_REVERT", "HDF5ToParquetMigrator"]

DAYS_TO_REVERT = 7
_COMPARED_ROWS = 1000
_SOURCE_TYPE = "hdf5"
_MB = 1_000_000
_SMALLEST_UNIT = Decimal(1).scaleb(-8)
_CANNOT_BE_RIGHT = pl.any_horizontal(
    pl.col("high") < pl.max_horizontal("open", "low", "close"),
    pl.col("low") > pl.min_horizontal("open", "close"),
    pl.any_horizontal(pl.col(*PRICES).is_null() | (pl.col(*PRICES) <= 0)),
    pl.col("volume").is_null() | (pl.col("volume") < 0),
)
_log = logging.getLogger(__name__)


class _Source(NamedTuple):
    """The bars in the files of a folder.

    Attributes:
        rows: All rows, sorted; of equal rows, only one is included.
        decimals: The same rows in their stored form, and the number of rounded values.
        states: Maps the path of each file to its state while it was read.
        skipped: Maps the path of each object that is not bars to the reason.
    """

    rows: pl.DataFrame
    decimals: DecimalFrame
    states: Mapping[Path, FileState]
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
        QueryError: The name of the bundle is invalid.
        BundleError: The name is registered for a bundle in another folder.
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
        if self.bundle.is_elsewhere:
            raise BundleError(
                f"the name {output.name} is registered for {self.bundle.path}, which is not {output}",
                hint="name that folder, or one with another name (--output-dir)",
            )

    def migrate(
        self,
        validate: bool = True,
        keep_hdf5: bool = True,
        compression: str = "zstd",
        compression_level: int = 3,
    ) -> dict[str, Any]:
        """Write the bundle; if it exists, only compare it with the files.

        Args:
            validate: Whether to read the new bundle again, and compare the number of rows, a SHA256
                digest of all values, and 1,000 random bars with the files. If they differ, the new
                bundle is removed.
            keep_hdf5: Whether the files are kept. If not, they are deleted after the comparison,
                unless they contain anything that is not in the bundle or were changed since.
            compression, compression_level: ``zstd`` and 3, as in every bundle.

        Returns:
            ``row_count``; ``hdf5_size_mb`` and ``parquet_size_mb`` (millions of bytes);
            ``compression_ratio`` (Parquet divided by HDF5); and the keys of :meth:`check`.

        Raises:
            BundleError: The files cannot be migrated or deleted, the bundle contains something
                else, or the comparison failed.
            QueryError: An argument is invalid, a bar has no time or symbol, or two different bars
                have the same time.
            DecimalRangeError: A value does not fit into a Decimal column.
            StorageError, LockTimeoutError: The bundle cannot be written; it does not exist.
        """
        if (compression, compression_level) != ("zstd", 3):
            what = f"compression {compression!r}, level {compression_level!r}"
            raise QueryError(f"unsupported {what}", hint="use zstd, level 3")
        source, is_new = self._read(), not self.bundle.exists()
        name, path = self.bundle.name, self.bundle.path
        if is_new:
            if self.bundle.disk.list(path):
                raise BundleError(
                    f"the folder {path} is not empty, and is not a bundle",
                    hint="name a new folder; removing a bundle removes its folder",
                )
            writer = ParquetWriter(path, disk=self._disk, clock=self._clock)
            writer.write(source.rows, _timeframe(source.rows), {"source_type": _SOURCE_TYPE})
        if path.parent != self._folder and registered(self._folder).get(name) != path:
            DataCatalog(folder=self._folder).register_bundle(name, path)
        if validate or not (is_new and keep_hdf5):
            try:
                self._compare(source)
            except BundleError:
                if is_new:
                    self.bundle.remove()
                raise
        if not keep_hdf5:
            self._delete(source)
        return self._result(source)

    def check(self) -> dict[str, Any]:
        """Read the files and compare them with the bundle if it exists; no bar is written.

        Returns:
            ``bundle`` and ``path``; ``state``: ``new`` or ``migrated``; ``row_count``;
            ``symbols``, the number of symbols; ``timeframe``; ``rounded``, values with more than
            eight decimals; ``anomalies``, bars that cannot be right; and ``skipped``, the reason
            for everything in the files that is not bars.

        Raises:
            BundleError, QueryError, DecimalRangeError: See :meth:`migrate`.
        """
        source = self._read()
        if self.bundle.exists():
            self._compare(source)
        return self._result(source)

    def revert(self) -> None:
        """Remove the bundle; the HDF5 files must exist and contain its bars.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: The bundle was not made by a migration in the last seven days, its bars
                are not those of the files, or the files are in its folder.
            StorageError, LockTimeoutError: Some files could not be removed.
        """
        origin = self.bundle.records().origin
        age_ms = self._clock.now_ms() - origin.created_at
        if origin.source_type != _SOURCE_TYPE or age_ms > DAYS_TO_REVERT * DAY_MS:
            raise BundleError(
                f"bundle {self.bundle.name} of {iso(origin.created_at)[:10]} was not migrated from "
                f"HDF5 files in the last {DAYS_TO_REVERT} days",
                hint=f"to remove it anyway, delete the folder {self.bundle.path} by hand",
            )
        self._compare(self._read())
        self.bundle.remove()

    def _read(self) -> _Source:
        """Read all files, and sort their bars."""
        frames, states, skipped = [], {}, {}
        keys: dict[str, str] = {}
        for path in hdf5_files(self.source):
            content = read_hdf5(path, self._disk)
            for rows, key, symbol in content.frames:
                frames.append(rows)
                if symbol and keys.setdefault(symbol, key) != key:
                    raise BundleError(
                        f"both {keys[symbol]} and {key} would become the symbol {symbol}",
                        hint="write the bars again under keys that end with different symbols",
                    )
            skipped.update({f"{path.name}:{at}": why for at, why in content.skipped.items()})
            states[path] = content.state
        if not any(map(len, frames)):
            raise BundleError(
                f"no bars were found in the HDF5 files in {self.source}",
                hint="; ".join(f"{at} {why}" for at, why in [*skipped.items()][:3]) or None,
            )
        every = pl.concat(frames, how="diagonal_relaxed")
        rows = checked_rows(every, "daily" if "date" in every.columns else "minute")
        rows = rows.sort(*rows.columns[1::-1])
        return _Source(rows, decimal_frame(rows), states, skipped)

    def _compare(self, source: _Source) -> None:
        """Compare the bundle with the files by the number of rows, a digest, and random bars.

        Raises:
            BundleError: The bundle differs from the files, or they are in its folder.
        """
        records, disk, difference = self.bundle.records(), self.bundle.disk, ""
        expected = source.decimals.frame
        parts = [parsed(disk.read(self.bundle.path / place), place) for place in records.files]
        names = pl.col("sid").replace_strict(records.names(), return_dtype=pl.String)
        stored = pl.concat([expected.clear(), *parts], how="diagonal_relaxed")
        stored = stored.with_columns(symbol=names).select(expected.columns)
        stored = stored.sort(*expected.columns[1::-1])
        texts = [frame.write_csv(include_header=False) for frame in (stored, expected)]
        digests = {hashlib.sha256(text.encode()).hexdigest() for text in texts}
        if len(stored) != len(expected):
            difference = f"it has {len(stored):,} bars, not {len(expected):,}"
        elif len(digests) > 1:
            difference = "its values have a different SHA256"
        elif any(path.resolve().is_relative_to(self.bundle.path) for path in source.states):
            difference = "its folder contains them, and would be removed with it"
        else:
            for at in random.sample(range(len(stored)), min(_COMPARED_ROWS, len(stored))):
                if not all(map(_is_same, source.rows[FIELDS].row(at), stored[FIELDS].row(at))):
                    difference = f"it has {stored.row(at)}, not {source.rows.row(at)}"
        if difference:
            raise BundleError(
                f"bundle {self.bundle.name} differs from the HDF5 files in {self.source}: {difference}",
                hint="the HDF5 files were not changed; name another folder for a new bundle",
            )

    def _delete(self, source: _Source) -> None:
        """Delete the files, provided that they contain nothing but bars and are as they were compared.

        Raises:
            BundleError: A file contains something else, so nothing is deleted; or a file has been
                changed, so it and those after it are not deleted.
        """
        for at, why in source.skipped.items():
            raise BundleError(
                f"the HDF5 files in {self.source} were not deleted: {at} {why}",
                hint="save what is not in the bundle, then delete the files by hand",
            )
        for path, state in source.states.items():
            if self.bundle.disk.stat(path) != state:
                raise BundleError(
                    f"{path.name} was not deleted: it was changed after the comparison",
                    hint="the bundle has the bars from before; migrate the files that are left again",
                )
            self.bundle.disk.remove(path)

    def _result(self, source: _Source) -> dict[str, Any]:
        rows, rounded = source.decimals
        records = self.bundle.records().files.values() if self.bundle.exists() else ()
        size_before = sum(state.size for state in source.states.values())
        size = sum(record.size_bytes for record in records)
        if wrong := len(rows.filter(_CANNOT_BE_RIGHT)):
            _log.warning("%s: %d bars cannot be right", self.bundle.name, wrong)
        return {
            "bundle": self.bundle.name,
            "path": str(self.bundle.path),
            "state": "migrated" if records else "new",
            "row_count": len(rows),
            "hdf5_size_mb": size_before / _MB,
            "parquet_size_mb": size / _MB,
            "compression_ratio": size / size_before,
            "symbols": rows[rows.columns[1]].n_unique(),
            "timeframe": _timeframe(rows),
            "rounded": rounded,
            "anomalies": wrong,
            "skipped": dict(source.skipped),
        }


def _timeframe(rows: pl.DataFrame) -> str:
    """Return the timeframe of rows that are sorted by symbol and time.

    For intraday bars, it is the longest timeframe that divides every distance between two bars; for
    longer bars, it depends on the shortest distance.

    Raises:
        BundleError: Times include seconds, or daily bars have times other than midnight.
    """
    time, key = rows.columns[:2]
    seconds = rows.select(key, pl.col(time).cast(pl.Datetime("us")).cast(pl.Int64) / 1e6)
    steps = seconds.select(pl.col(time).diff().over(key)).to_series().drop_nulls().unique().sort()
    if time == "date":
        days = steps[0] / 86_400 if len(steps) else 1
        return "1d" if days < 5 else "1w" if days < 20 else "1M"
    every = math.gcd(*map(int, steps)) or 60
    if (seconds[time] % 60 != 0).any() or every % 86_400 == 0:
        raise BundleError(
            "the times of the bars are neither whole minutes within a day nor midnight",
            hint="daily bars need the date of their session, at midnight",
        )
    return f"{every // 60}m"


def _is_same(original: Any, stored: Decimal | None) -> bool:
    """Return whether a Decimal equals the number in the file, rounded to eight decimals."""
    if original is None or original != original:
        return stored is None
    return stored is not None and abs(Decimal(repr(original)) - stored) <= _SMALLEST_UNIT
