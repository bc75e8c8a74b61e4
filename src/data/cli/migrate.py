"""``onetape ingest migrate-hdf5-to-parquet`` and ``onetape bundle migrate``: HDF5 files to bundles."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BundleError, DataError, QueryError
from ..model.texts import counted
from .arguments import command, flag
from .report import Line, Report
from .tables import titled

if TYPE_CHECKING:
    from ..layer.migration import HDF5ToParquetMigrator

_SUFFIX = "_parquet"
_MOST_LINES = 12
Work = Callable[["HDF5ToParquetMigrator"], dict[str, Any]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape ingest migrate-hdf5-to-parquet``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("-b", "--bundle", metavar="NAME", help="name of the HDF5 bundle")
    flag(which, "--all", "every folder with HDF5 files in the source folder")
    _add_paths(parser)
    flag(
        parser,
        "--validate",
        "compare all bars with the HDF5 files afterwards: count, digest, random samples",
    )
    command(parser, _migrate)


def configure_bundle(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape bundle migrate``."""
    parser.add_argument("names", nargs="*", metavar="name", help="HDF5 bundles (default: all)")
    what = parser.add_mutually_exclusive_group(required=True)
    flag(
        what,
        "--validate",
        "read the HDF5 files, compare them with bundles made from them, and write nothing",
    )
    flag(what, "--apply", "write and compare the bundles")
    flag(what, "--revert", "remove the bundles again, at most 7 days later; the HDF5 files stay")
    _add_paths(parser)
    command(parser, _bundle_migrate)


def _add_paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source-dir",
        metavar="DIR",
        help="folder with the HDF5 files, or with the folders of all bundles "
        "(default: the bundle folder)",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help=f"folder of the new bundle, or of all new bundles (default: NAME{_SUFFIX} in the "
        "bundle folder)",
    )
    parser.add_argument(
        "--parallel", type=int, default=1, metavar="N", help="bundles at the same time (default 1)"
    )
    parser.add_argument("--bundles", metavar="DIR", help="bundle folder")


def _migrate(args: argparse.Namespace) -> Report:
    """Migrate one bundle, or all bundles in a folder."""
    from ..bundles.folder import bundles_folder

    folder = bundles_folder(args.bundles)
    _check_names([args.bundle] if args.bundle else ())
    if args.all:
        pairs = _folder_pairs(args, folder, ())
    else:
        source = Path(args.source_dir or folder / args.bundle)
        pairs = [(source, Path(args.output_dir or folder / f"{args.bundle}{_SUFFIX}"))]
    return _report(args, pairs, lambda migrator: migrator.migrate(validate=args.validate))


def _bundle_migrate(args: argparse.Namespace) -> Report:
    """Validate, apply or revert the migration of all bundles in a folder, or of the named ones."""
    from ..bundles.folder import bundles_folder

    def revert(migrator: HDF5ToParquetMigrator) -> dict[str, Any]:
        """Remove a migrated bundle."""
        migrator.revert()
        return {
            "bundle": migrator.bundle.name,
            "path": str(migrator.bundle.path),
            "state": "reverted",
        }

    works: Sequence[tuple[bool, Work]] = (
        (args.validate, lambda migrator: migrator.check()),
        (args.apply, lambda migrator: migrator.migrate()),
        (args.revert, revert),
    )
    work = next(work for is_wanted, work in works if is_wanted)
    return _report(args, _folder_pairs(args, bundles_folder(args.bundles), args.names), work)


def _check_names(names: Sequence[str]) -> None:
    """Refuse names that would lead out of the folders, such as ``../x``.

    Raises:
        QueryError: A name is a path.
    """
    for name in names:
        if Path(name).name != name:
            raise QueryError(
                f"{name!r:.80} is not the name of a bundle",
                hint="name the folders: --source-dir and --output-dir",
            )


def _folder_pairs(
    args: argparse.Namespace, folder: Path, names: Sequence[str]
) -> list[tuple[Path, Path]]:
    """Return the source and the output folder of each bundle.

    Raises:
        BundleError: No HDF5 bundles were found.
        QueryError: A name is a path.
    """
    from ..layer.migration import hdf5_bundles

    _check_names(names)
    root, output = Path(args.source_dir or folder), Path(args.output_dir or folder)
    sources = [root / name for name in names] if names else hdf5_bundles(root)
    if not sources:
        raise BundleError(
            f"no folder in {root} contains HDF5 files", hint="name another folder: --source-dir"
        )
    return [(source, output / f"{source.name}{_SUFFIX}") for source in sources]


def _report(args: argparse.Namespace, pairs: Sequence[tuple[Path, Path]], work: Work) -> Report:
    """Do the work for each bundle, for several at the same time; an error in one does not stop the others.

    Raises:
        QueryError: The number of simultaneous bundles is invalid.
    """
    from concurrent.futures import ThreadPoolExecutor

    from ..layer.migration import HDF5ToParquetMigrator

    if args.parallel < 1:
        raise QueryError(f"--parallel is {args.parallel}", hint="it must be at least 1")

    def done(paths: tuple[Path, Path]) -> dict[str, Any] | DataError:
        """Return the result for a bundle, or the error."""
        try:
            return work(HDF5ToParquetMigrator(*paths, folder=args.bundles))
        except DataError as error:
            return error

    with ThreadPoolExecutor(args.parallel, "onetape-migrate") as pool:
        every = list(pool.map(done, pairs))
    results = [result for result in every if isinstance(result, dict)]
    errors = [result for result in every if isinstance(result, DataError)]
    if errors and len(pairs) == 1:
        raise errors[0]

    def shown() -> Iterator[Any]:
        """Yield the lines for a terminal."""
        for result in results:
            yield from _lines(result)

    return Report({"bundles": results}, shown, errors=errors, ok=not errors)


def _lines(result: dict[str, Any]) -> Iterator[Any]:
    if "row_count" not in result:
        yield titled(result["bundle"], result["state"])
        yield Line(result["path"], "dim")
        return
    bars = f"{result['row_count']:,} {result['timeframe']} bars for {counted(result['symbols'], 'symbol')}"
    yield titled(result["bundle"], f"{result['state']}  {bars}")
    yield Line(result["path"], "dim")
    if "compression_ratio" in result:
        yield (
            f"HDF5 {result['hdf5_size_mb']:.2f} MB, Parquet {result['parquet_size_mb']:.2f} MB "
            f"({result['compression_ratio']:.2%})"
        )
    if result["rounded"]:
        yield f"values with more than eight decimals, which were rounded: {result['rounded']:,}"
    if result["repeated"]:
        yield f"{counted(result['repeated'], 'row')} equal to another, stored once"
    for what, count in result["anomalies"].items():
        yield f"{counted(count, 'bar')}: {what}"
    for name, why in list(result["skipped"].items())[:_MOST_LINES]:
        yield Line(f"  not migrated: {name} {why}")
    if len(result["skipped"]) > _MOST_LINES:
        yield f"  and {len(result['skipped']) - _MOST_LINES:,} more (--json lists all)"
