"""The state of each extra on this machine, which also depends on the transports in the rules."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ...core.net.http.sender_pool import wants_package
from ...core.provider_selector import ProviderSelector
from ...core.registry import VENDORS
from ...core.vendors.base import BaseDataDownloader
from ...core.vendors.factory import usable_class
from ...errors import install_line
from .checks import Check, fault, note, ok


class Extra(NamedTuple):
    """An optional dependency (extra) of this package.

    Attributes:
        module: Module that the extra installs.
        distribution: Name of the installed package on package indexes.
        use: Purpose of the extra, for human readers.
    """

    module: str
    distribution: str
    use: str


EXTRAS = {
    **{
        name: Extra(row.package, row.distribution, row.package_use)
        for name, row in VENDORS.items()
        if row.package
    },
    "live": Extra("websocket", "websocket-client", "receives vendors' streams"),
    "backtrader": Extra("backtrader", "backtrader", "turns live feeds into Backtrader data feeds"),
    "parquet": Extra(
        "pyarrow", "pyarrow", "reads and writes Parquet files, and creates Arrow tables from bars"
    ),
    "polars": Extra("polars", "polars", "creates Polars frames from bars"),
    "features": Extra("talib", "TA-Lib", "computes features faster; Polars keeps them"),
    "sql": Extra("duckdb", "duckdb", "runs SQL over stored series and bundles"),
    "fast": Extra("isal", "isal", "compresses and decompresses long files in a tenth of the time"),
    "completion": Extra("shtab", "shtab", "writes completion scripts for bash, zsh and fish"),
    "hdf5": Extra("h5py", "h5py", "migrates HDF5 files to bundles"),
    "plot": Extra("matplotlib", "matplotlib", "draws charts as PNG and SVG"),
    "db": Extra("sqlalchemy", "sqlalchemy", "keeps symbols and universes in a database"),
    "postgres": Extra("psycopg", "psycopg", "keeps symbols and universes on a PostgreSQL server"),
    "redis": Extra("redis", "redis", "connects a program's DataCache to a Redis or Valkey server"),
    "server": Extra("starlette", "starlette", "serves pages, and bars to other programs"),
    "mcp": Extra("mcp", "mcp", "serves tools to agents"),
    "metrics": Extra(
        "prometheus_client", "prometheus-client", "serves a program's counters to Prometheus"
    ),
}

# Extras that install others.
GROUPS = {"bot": ("plot", "db"), "all": tuple(n for n in EXTRAS if n not in ("hdf5", "ibkr"))}


def group_state(name: str) -> Check:
    """Check whether all extras that an extra of :data:`GROUPS` installs are there."""
    title = f"installation extra {name}"
    lacking = [part for part in GROUPS[name] if not installed(EXTRAS[part])[0]]
    if not lacking:
        return ok(title, "all of its extras are installed")
    return note(title, f"not installed: {', '.join(lacking)}", install_line(name))


def extra_state(selector: ProviderSelector, name: str) -> Check:
    """Check an extra, given the rules in ``selector``; the package is not imported.

    The level is ``fault`` if the extra is needed but does not work, ``note`` if it is not used.
    """
    extra, remedy, title = EXTRAS[name], install_line(name), f"installation extra {name}"
    cls = (usable_class(name) if name in VENDORS else None) or BaseDataDownloader
    mode = selector.parsed_rules.provider(name).transport if cls.sdk_carrier else ""
    under = f" (transport: {mode})" if mode else ""
    version, hidden_by = installed(extra)
    package = f"{extra.distribution} {version}".rstrip()
    if mode and not wants_package(mode, cls):
        state = f"{package}, not used" if version else "not installed and not needed"
        return note(title, f"{state}: {cls.display_name} is queried over plain HTTP{under}")
    if hidden_by:
        # A package without metadata may be the right one, as in bundled programs.
        level = fault if version or mode == "sdk" else note
        text = f"{hidden_by} is imported instead of {package}"
        return level(title, text, "remove or rename it, or start from another folder")
    if version:
        subject = f"the session of {package}" if mode == "auto" else package
        return ok(title, f"{subject}: {extra.use}{under}")
    if mode == "sdk":
        text = f"transport: sdk needs {package}, which is not installed"
        return fault(title, text, f"{remedy}, or set transport: http")
    text = f"not installed: {package} {extra.use}{under}"
    if mode == "auto":
        text += f"; over plain HTTP, {cls.display_name} may reject requests (HTTP 429 or 401)"
    return note(title, text, remedy)


def installed(extra: Extra) -> tuple[str, str]:
    """Return the version of an extra's package (empty if absent), and the file that shadows it.

    If a user's file has the same name as the module, Python imports that file instead of the
    package.
    """
    spec = find_spec(extra.module)
    origin = spec.origin if spec and spec.origin else ""
    try:
        distribution = metadata.distribution(extra.distribution)
    except metadata.PackageNotFoundError:
        return "", origin
    package = Path(str(distribution.locate_file(extra.module)))
    files = [
        path for path in (package / "__init__.py", package.with_suffix(".py")) if path.is_file()
    ]
    is_own = not files or not origin or any(path.samefile(origin) for path in files)
    return distribution.version, "" if is_own else origin


def without_effect(selector: ProviderSelector) -> list[str]:
    """Return the vendors for which the rules select a transport package that has no effect."""
    extras = [
        n for n, provider in selector.parsed_rules.providers.items() if provider.transport == "sdk"
    ]
    return [n for n in extras if not (usable_class(n) or BaseDataDownloader).sdk_carrier]
