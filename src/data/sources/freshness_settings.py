"""The file ``config/cache_freshness.yaml``: how soon the latest bars may be requested again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

from ..config.schema import Form, Path, Problem, number, record, table, text, whole
from ..config.settings import named_path, path_check, working_dir
from ..config.yaml_text import MAX_BYTES, read_yaml
from ..errors import BadTimeframeError, ConfigError
from ..model.timeframe import Timeframe

FRESHNESS_FILE = FilePath("config", "cache_freshness.yaml")
MAX_SIZE = "cache.max_size_bytes"
POLICIES = ("market_close", "ttl", "hybrid", "never_stale", "always_stale")
_TTL = "_ttl"
_KEYS = {"daily": text(*POLICIES), "calendar": text()}
_KEYS |= {f"{name}{_TTL}": number(0) for name in ("daily", "hourly", "minute")}


def _is_of_a_timeframe(key: object) -> bool:
    """Return whether a key, such as ``15m_ttl``, applies to only one timeframe."""
    try:
        label = str(key).removesuffix(_TTL)
        return label != key and Timeframe.parse(label).label == label
    except BadTimeframeError:
        return False


def _check_source(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a mapping of settings for one source, including settings for individual timeframes."""
    names = value if isinstance(value, Mapping) else ()
    durations = {name: number(0) for name in names if _is_of_a_timeframe(name)}
    return record(_KEYS | durations).check(value, path)


_FORM = record(
    {
        "freshness_policies": table(Form(_check_source), text()),
        "calendars": table(text(), text()),
        "cache": record({"max_size_bytes": whole(0)}),
    }
)


def freshness_settings(
    path: str | os.PathLike[str] | None = None, cwd: FilePath | None = None
) -> dict[str, Any]:
    """Return the file's settings, with keys such as ``yfinance.daily``, ``cache.max_size_bytes``.

    Args:
        path: Path of the file; None means ``./config/cache_freshness.yaml``, which does not have to
            exist.
        cwd: Folder for relative paths; None means the current one.

    Returns:
        Settings by name: ``<source>.daily``, ``<source>.calendar``, ``<source>.daily_ttl`` (in
        seconds) and so on; empty if there is no file.

    Raises:
        ConfigError: The named file does not exist, or a file cannot be read; a :class:`RulesError`
            lists every error with its line.
    """
    here = working_dir() if cwd is None else cwd
    file_path = here / FRESHNESS_FILE if path is None else named_path(path, "the file", here)
    if not path_check(file_path.is_file, file_path):
        if path is None:
            return {}
        raise ConfigError(f"{file_path} does not exist", hint=f"name a file like {FRESHNESS_FILE}")
    try:
        with file_path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{file_path} cannot be read: {exc.strerror}") from exc
    return dict(_parse_settings(file_path, data))


@lru_cache(4)
def _parse_settings(path: FilePath, data: bytes) -> Mapping[str, Any]:
    document = read_yaml(data)
    problems = [*document.problems, *_FORM.check(document.value, ())]
    if problems:
        raise document.error(str(path), problems)
    settings = dict[str, Any]()
    for source, values in (document.value.get("freshness_policies") or {}).items():
        settings |= {f"{source}.{key}": value for key, value in (values or {}).items()}
    for source, calendar in (document.value.get("calendars") or {}).items():
        settings.setdefault(f"{source}.calendar", calendar)
    if (size := (document.value.get("cache") or {}).get("max_size_bytes")) is not None:
        settings[MAX_SIZE] = size
    return settings


def checked_settings(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return settings passed by user code after checking them; keys as in :func:`freshness_settings`.

    Raises:
        ConfigError: A key or value is invalid.
    """
    sources = dict[str, dict[str, Any]]()
    sizes = dict[str, Any]()
    for name, value in (config or {}).items():
        source, _, key = str(name).rpartition(".")
        if source == "cache":
            sizes[key] = value
        else:
            sources.setdefault(source, {})[key] = value
    problems = _FORM.check({"freshness_policies": sources, "cache": sizes}, ())
    for problem in problems:
        raise ConfigError(
            f"config: {str(problem).removeprefix('freshness_policies.')}",
            hint=f"valid keys are, for example, {MAX_SIZE}, yfinance.daily and yfinance.hourly_ttl",
        )
    return dict(config or {})
