"""The settings of an installation, and every error in its configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import ConfigError
from ..model.request.settings import Settings
from . import settings as reading
from .donotshare import is_set
from .rules_file import load_rules

Where = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Survey:
    """The parts of a configuration that could be resolved, and the errors in the other parts.

    Attributes:
        settings: Usable settings. Their ``rules_path`` is None if the rules file has errors; in
            that case, only the packaged rules apply.
        rules_path: Path of the user's rules file, whether usable or not; None if it does not exist.
        errors: Reasons why parts of the configuration cannot be used, in the order in which they
            were read.
        remarks: Warnings about ignored settings, as they were logged.
        is_found: Whether the rules file was merely found in the working directory, not named by the
            user.
    """

    settings: Settings
    rules_path: Path | None
    errors: tuple[ConfigError, ...] = ()
    remarks: tuple[str, ...] = ()
    is_found: bool = False


def survey(
    cache_dir: Where = None,
    config_path: Where = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Survey:
    """Resolve as many settings as possible, and collect all errors; for arguments, see ``load_settings``.

    Raises:
        ConfigError: The user has no home folder, so the other folders cannot be determined.
    """
    here = reading.working_dir() if cwd is None else cwd
    errors: list[ConfigError] = []
    with _collect_warnings() as warnings:
        path = usable = None
        try:
            path = reading.find_rules(config_path, environ, here)
            if path is not None:
                load_rules(path)
            usable = path
        except ConfigError as error:
            errors.append(error)
        settings = reading.settings_by(usable, cache_dir, environ, here, errors)
    if not load_rules(usable).cache.enabled:
        settings = replace(settings, cache_dir_from="not used: cache.enabled is false in the rules")
    is_named = bool(config_path) or is_set("ONETAPE_RULES", environ)
    is_found = path is not None and not is_named
    return Survey(settings, path, tuple(errors), tuple(dict.fromkeys(warnings)), is_found)


@contextmanager
def _collect_warnings() -> Iterator[list[str]]:
    """Collect the warnings that this package logs while the ``with`` block runs."""
    messages: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, logger = Ear(logging.WARNING), logging.getLogger(__package__)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
