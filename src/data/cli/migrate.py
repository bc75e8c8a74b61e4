"""``onetape bundle migrate-hdf5-to-parquet`` and ``onetape bundle migrate``: HDF5 files to bundles."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

from ..errors import BundleError, DataError
from .arguments import command, option, positive
from .result import Report
from .tables import fields

_SUFFIX = "_parquet"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape bundle migrate-hdf5-to-parquet``."""
    which = parser.add_mutually_exclusive_group(required=True)
    option(which, "-b --bundle NAME", "name of the HDF5 bundle")
    option(which, "--all", "every folder with HDF5 files in the source folder")
    text = "compare all bars with the HDF5 files afterwards: count, digest, random samples"
    option(parser, "--validate", text)
    _add_paths(parser)
    command(parser, _migrate)


def configure_bundle(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape bundle migrate``."""
    option(parser, "names* name", "HDF5 bundles (default: all)")
    what = parser.add_mutually_exclusive_group(required=True)
    text = "read the HDF5 files, compare them with bundles made from them, write nothing"
    option(what, "--validate", text)
    option(what, "--apply", "write and compare the bundles")
    option(what, "--revert", "remove the bundles again, at most 7 days later; the HDF5 files stay")
    _add_paths(parser)
    command(parser, _bundle_migrate)


def _add_paths(parser: argparse.ArgumentParser) -> None:
    for name, text in (
        ("--source-dir", "folder with the HDF5 files, or with the folders of all bundles"),
        ("--output-dir", f"folder of the new bundle, or of all new bundles (NAME{_SUFFIX})"),
        ("--bundles", "bundle folder, the default of both"),
    ):
        option(parser, f"{name} DIR", text)
    option(parser, "--parallel N", "bundles at once (default 1)", type=positive, default=1)


def _migrate(args: argparse.Namespace) -> Report:
    """Migrate one bundle, or all bundles in a folder."""
    pairs = _pairs(args, [args.bundle] if args.bundle else [])
    if args.bundle:  # the options name its own folders, not those of all bundles
        source, output = pairs[0]
        pairs = [(Path(args.source_dir or source), Path(args.output_dir or output))]
    return _report(args, pairs, methodcaller("migrate", validate=args.validate))


def _bundle_migrate(args: argparse.Namespace) -> Report:
    """Validate, apply or revert the migration of all bundles in a folder, or of the named ones."""
    method = "check" if args.validate else "migrate" if args.apply else "revert"
    return _report(args, _pairs(args, args.names), methodcaller(method))


def _pairs(args: argparse.Namespace, names: list[str]) -> list[tuple[Path, Path]]:
    """Return the source and the output folder of each bundle.

    Raises:
        BundleError: No HDF5 bundles were found.
        QueryError: A name is a path.
    """
    from ..research.bundles.bundle_files import checked_name
    from ..research.bundles.hdf5 import hdf5_bundles
    from ..research.settings.folder import bundles_folder

    folder = bundles_folder(args.bundles)
    root, output = Path(args.source_dir or folder), Path(args.output_dir or folder)
    sources = [root / checked_name(name) for name in names] if names else hdf5_bundles(root)
    if not sources:
        what = f"no folder in {root} contains HDF5 files"
        raise BundleError(what, hint="name another folder: --source-dir")
    return [(source, output / f"{source.name}{_SUFFIX}") for source in sources]


def _report(
    args: argparse.Namespace, pairs: list[tuple[Path, Path]], work: Callable[[Any], Any]
) -> Report:
    """Do the work for each bundle, for several at once; an error in one does not stop the others."""
    from concurrent.futures import ThreadPoolExecutor

    from ..research.catalog.migration import HDF5ToParquetMigrator

    def done(paths: tuple[Path, Path]) -> dict[str, Any] | DataError:
        """Return the result for a bundle, or the error."""
        try:
            migrator = HDF5ToParquetMigrator(*paths, folder=args.bundles)
            names = {"bundle": migrator.bundle.name, "path": str(migrator.bundle.path)}
            return work(migrator) or {**names, "state": "reverted"}
        except DataError as error:
            return error

    with ThreadPoolExecutor(args.parallel, "onetape-migrate") as pool:
        every = list(pool.map(done, pairs))
    results = [result for result in every if isinstance(result, dict)]
    errors = [result for result in every if isinstance(result, DataError)]
    if errors and len(pairs) == 1:
        raise errors[0]

    return Report({"bundles": results}, map(fields, results), errors=errors, ok=not errors)
