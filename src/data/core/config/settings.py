"""Folders, files and limits of an installation.

Each is taken from the first of these that sets it: the argument, the environment variable, the
user's optional private module, the rules file, the default.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ..disk.calls import or_none
from ..model.identity.instrument import Instrument
from ..model.request.settings import Settings
from ..symbols.classify import SymbolRefusal, classify
from .credentials import all_credentials, note_key
from .donotshare import is_set, variable_of
from .offered import known_names, known_vendor
from .packaged import is_packaged
from .rules import RATE_LIMITS, Rules, StoreRules
from .rules_file import FILE_NAME, RELATIVE, check_found_rules, load_rules
from .schema import nearest, settings_of

APP = "onetape"
# Names of XDG folders below ``~/.local``.
_LOCAL = {"state": "state", "data": "share"}
_log = logging.getLogger(__name__)


def load_settings(
    cache_dir: str | os.PathLike[str] | None = None,
    config_path: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Resolve the settings of this installation without creating any file or folder.

    Args:
        cache_dir: Root of the cache; None for ``DATA_CACHE_DIR``, an existing ``./data-cache``, or
            the user's cache folder.
        config_path: The user's rules file; None for ``ONETAPE_RULES``, or
            ``./config/data/provider_rules.yaml`` if it exists.
        environ: Environment to read; None means the process's own.
        cwd: Folder for relative paths; None for the current one.

    Raises:
        ConfigError: A rules file named by the user does not exist, or the value of a variable is
            invalid.
        RulesError: The rules file is invalid.
    """
    here = working_dir() if cwd is None else cwd
    settings = settings_by(find_rules(config_path, environ, here), cache_dir, environ, here)
    record = variable_of("ONETAPE_RECORD", environ)
    return (
        replace(settings, record_dir=named_path(record, "ONETAPE_RECORD", here))
        if record
        else settings
    )


def settings_by(
    rules_path: Path | None,
    cache_dir: str | os.PathLike[str] | None,
    environ: Mapping[str, str] | None,
    here: Path,
    errors: list[ConfigError] | None = None,
) -> Settings:
    """Resolve the settings, without the folder of recordings, given the user's rules file.

    With ``errors``, an invalid size limit is added to them, and the limit of the rules is used.

    Raises:
        ConfigError, RulesError: See :func:`load_settings`.
    """
    cache, cache_from = cache_folder_of(cache_dir, environ, here)
    try:
        limit = _max_size(environ, rules_path)
    except ConfigError as error:
        if errors is None:
            raise
        errors.append(error)
        limit = load_rules(rules_path).cache.max_size_gb
    return Settings(
        cache_dir=cache,
        cache_dir_from=cache_from,
        state_dir=_state_dir(environ, here),
        rules_path=rules_path,
        max_size_gb=limit,
        credentials=all_credentials(environ),
        rate_limits=_rate_limits(variable_of("PROVIDER_RATE_LIMITS", environ)),
    )


def shared_store(rules: Rules, environ: Mapping[str, str] | None = None) -> StoreRules:
    """Return the settings of the store that many hosts share, from ``ONETAPE_STORE`` or the rules.

    Raises:
        ConfigError: The value of the variable is not a server address.
    """
    store = rules.store
    if url := variable_of("ONETAPE_STORE", environ):
        form = settings_of(StoreRules)["url"]
        if wrong := next(iter(form.check(url, ())), None):
            raise ConfigError(f"ONETAPE_STORE {wrong.what}")
        store = replace(store, url=url)
    if store.url:
        note_key(store.url)
    return store


def find_rules(
    config_path: str | os.PathLike[str] | None, environ: Mapping[str, str] | None, cwd: Path
) -> Path | None:
    """Return the path of the user's rules file, or None if only the packaged one applies.

    Raises:
        ConfigError: A file that the user named does not exist.
        RulesError: A file that was merely found in the working directory is invalid, or names
            third-party hosts or keys.
    """
    given = [(config_path, "config_path"), (variable_of("ONETAPE_RULES", environ), "ONETAPE_RULES")]
    for value, source in given:
        if not value:
            continue
        path = named_path(value, source, cwd)
        if path_check(path.is_file, path):
            if is_packaged(path, FILE_NAME):
                return None
            if source == "ONETAPE_RULES" and not is_set(source, environ):
                check_found_rules(path)  # the private file that names it was itself only found
            return path
        if Path(value) == RELATIVE:  # older programs pass the name of the default
            return None
        hint = "give the path of an existing rules file, or nothing to use the packaged rules"
        fault = "is a folder" if path_check(path.is_dir, path) else "does not exist"
        raise ConfigError(f"the rules file {path} ({source}) {fault}", hint=hint)
    default = cwd / RELATIVE
    if not path_check(default.is_file, default) or is_packaged(default, FILE_NAME):
        return None
    check_found_rules(default)
    return default


def is_private() -> bool:
    """Return whether the rules make the cache's files accessible only to their owner.

    Raises:
        ConfigError: The configuration is invalid.
    """
    return load_rules(find_rules(None, None, working_dir())).cache.private


def meaning_of(symbol: str) -> Instrument | SymbolRefusal:
    """Return the instrument a symbol means under this installation's rules, or why it is rejected.

    Raises:
        ConfigError: The configuration is invalid.
    """
    rules = load_rules(find_rules(None, None, working_dir()))
    return classify(symbol, rules.classification)


def cache_folder_of(
    argument: str | os.PathLike[str] | None, environ: Mapping[str, str] | None, cwd: Path
) -> tuple[Path, str]:
    """Return the cache folder, and the setting that determined it, without creating the folder.

    Raises:
        ConfigError: The path cannot be used.
    """
    if argument:
        return named_path(argument, "cache_dir", cwd), "argument"
    if variable := variable_of("DATA_CACHE_DIR", environ):
        return named_path(variable, "DATA_CACHE_DIR", cwd), "DATA_CACHE_DIR"
    here = cwd / "data-cache"
    if path_check(here.is_dir, here):
        return here, "./data-cache"
    return user_folder("cache", environ) / APP, "user cache folder"


def _state_dir(environ: Mapping[str, str] | None, cwd: Path) -> Path:
    if variable := variable_of("ONETAPE_STATE_DIR", environ):
        return named_path(variable, "ONETAPE_STATE_DIR", cwd)
    return user_folder("state", environ) / APP


def named_path(value: str | os.PathLike[str], source: str, cwd: Path) -> Path:
    """Resolve a path that the user named.

    Raises:
        ConfigError: The value cannot be a path, or belongs to a user that does not exist.
    """
    try:
        path = cwd / Path(value).expanduser()
        if b"\0" in os.fspath(path).encode("utf-8"):
            raise ValueError("it contains a NUL character")
    except (RuntimeError, TypeError, ValueError) as exc:
        raise ConfigError(
            f"{source} {os.fspath(value) if isinstance(value, os.PathLike) else value!a} "
            f"cannot be used as a path: {exc}",
            hint="give the path of a folder or file as UTF-8 text",
        ) from exc
    return path


def path_check(check: Callable[[], bool], path: Path) -> bool:
    """Return the result of ``check``, a check on ``path`` such as ``Path.is_file``.

    Raises:
        ConfigError: The user does not have permission to search the folder, or the disk failed.
    """
    try:
        # Since Python 3.14, the checks themselves return False.
        return or_none(path.stat) is not None and check()
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be accessed: {exc.strerror}",
            hint="give this user permission to search the folder, or name another path",
        ) from exc


def working_dir() -> Path:
    """Return the current folder.

    Raises:
        ConfigError: The folder no longer exists.
    """
    try:
        return Path.cwd()
    except OSError as exc:
        raise ConfigError(
            f"the working directory cannot be used: {exc.strerror}",
            hint="change to a folder that exists",
        ) from exc


def user_folder(purpose: str, environ: Mapping[str, str] | None) -> Path:
    """Return the platform's folder for a user's ``cache``, ``state`` or ``data``.

    Raises:
        ConfigError: The user has no home folder.
    """
    variables = os.environ if environ is None else environ
    home = variables.get("HOME") or variables.get("USERPROFILE") or os.path.expanduser("~")
    if sys.platform == "win32":
        local = variables.get("LOCALAPPDATA") or str(Path(home, "AppData", "Local"))
        return Path(local, purpose.capitalize())
    if not Path(home).is_absolute():
        variables_instead = (
            "DB_URL" if purpose == "data" else "DATA_CACHE_DIR and ONETAPE_STATE_DIR"
        )
        hint = f"set HOME, or {variables_instead}"
        raise ConfigError(f"no home folder was found for the {purpose}", hint=hint)
    if sys.platform == "darwin":
        return Path(home, "Library", "Caches" if purpose == "cache" else "Application Support")
    # According to the XDG rules, a relative path in these variables must be ignored.
    named = Path(variables.get(f"XDG_{purpose.upper()}_HOME") or "")
    if named.is_absolute():
        return named
    return Path(home, ".cache") if purpose == "cache" else Path(home, ".local", _LOCAL[purpose])


def _max_size(environ: Mapping[str, str] | None, rules_path: Path | None) -> float:
    variable = variable_of("CACHE_MAX_SIZE_GB", environ)
    if not variable:
        return load_rules(rules_path).cache.max_size_gb
    try:
        size = float(variable)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise ConfigError(
            f"CACHE_MAX_SIZE_GB is {variable!r}, but must be 0 or more gigabytes",
            hint="0 means no limit",
        )
    return size


def _rate_limits(text: str) -> dict[str, dict[str, float]]:
    """Parse ``PROVIDER_RATE_LIMITS``; invalid entries are ignored with one warning."""
    if not text:
        return {}
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        _log.warning("PROVIDER_RATE_LIMITS is ignored because it is not a JSON object of vendors")
        return {}
    limits: dict[str, dict[str, float]] = {}
    wrong: list[str] = []
    for name, values in parsed.items():
        # Any other name may be that of a downloader defined by user code.
        vendor = known_vendor(name) or name
        if not isinstance(values, dict):
            wrong.append(name)
            continue
        good = {k: float(v) for k, v in values.items() if _is_limit(k, v)}
        wrong += [f"{name}.{key}" for key in values if key not in good]
        limits[vendor] = limits.get(vendor, {}) | good
    problems = [f"ignored {', '.join(wrong)}"] if wrong else []
    problems += filter(None, map(_spelling_remark, parsed))
    if problems:
        _log.warning("PROVIDER_RATE_LIMITS: %s", "; ".join(problems))
    return limits


def _spelling_remark(name: str) -> str:
    """Return a remark if a name could be a misspelled vendor, or an empty string."""
    near = "" if known_vendor(name) else nearest(name, known_names())
    return near and (
        f"{name} is not a vendor (did you mean {near}?), unless it is a downloader of your own"
    )


def _is_limit(key: str, value: Any) -> bool:
    """Return whether a key and value are a valid limit."""
    return key in RATE_LIMITS and value is not None and not any(RATE_LIMITS[key].check(value, ()))


@dataclass(frozen=True)
class LogSettings:
    """The logging settings from the environment; a setting is empty if its variable is not set.

    Attributes:
        format: Value of ``ONETAPE_LOG``, which should be ``text`` or ``json``; not checked.
        level: Value of ``ONETAPE_LOG_LEVEL``, which should be ``debug``, ``info``, ``warning`` or
            ``error``; not checked.
    """

    format: str = ""
    level: str = ""


def log_settings(environ: Mapping[str, str] | None = None) -> LogSettings:
    """Read the two logging variables; ``environ=None`` means the environment of the process."""
    return LogSettings(
        variable_of("ONETAPE_LOG", environ).lower(),
        variable_of("ONETAPE_LOG_LEVEL", environ).lower(),
    )


# Variable of older programs.
_PORTALS = "RUSTYBT_USE_POLARS"


def uses_polars(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether ``DataPortal`` returns Polars frames, as older programs set it (default: yes).

    Raises:
        ConfigError: The value is neither 0 nor 1.
    """
    value = variable_of(_PORTALS, environ) or "1"
    if value not in ("0", "1"):
        raise ConfigError(
            f"{_PORTALS} is {value!r:.40}, but must be 0 or 1", hint="1: Polars; 0: pandas"
        )
    return value == "1"
