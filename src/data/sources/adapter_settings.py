"""The file ``config/data_adapters.yaml``: constructor arguments for sources, strictly checked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

from ..config.schema import (
    Form,
    Path,
    Problem,
    as_switch,
    attributes,
    number,
    record,
    switch,
    text,
    whole,
)
from ..config.settings import path_check, working_dir
from ..config.yaml_text import MAX_BYTES, read_yaml
from ..errors import ConfigError

ADAPTERS_FILE = FilePath("config", "data_adapters.yaml")
_A_DAY_S = 86_400
_COLUMNS = ("date", "open", "high", "low", "close", "volume", "symbol")
_log = logging.getLogger(__name__)


def _no_testnet(value: Any, path: Path) -> Iterator[Problem]:
    """Accept only false."""
    problems = list(switch.check(value, path))
    yield from problems
    if not problems and as_switch(value):
        yield Problem(path, "must be false: bars from a test network are not market data")


# Keys with a name (`named`) are constructor arguments, in the constructors' units. Limits and
# retries are those of the router, regardless of the file.
_CCXT = {
    "exchange": text().named("exchange_id"),
    "testnet": Form(_no_testnet),
    "rate_limit": switch,
    "timeout": number(100, _A_DAY_S * 1000).to(lambda ms: ms / 1000).named("timeout"),
    "retry_attempts": whole(0),
    "retry_delay": number(0),
}
_YFINANCE = {
    "timeout": number(0.1, _A_DAY_S).to(float).named("timeout"),
    "retry_attempts": whole(0),
    # The vendor has no raw prices: even its unadjusted prices are adjusted for splits.
    "adjusted_prices": switch.to({True: "all", False: "split"}.get).named("adjustment"),
}
_CSV = {
    "schema_mapping": record({f"{name}_column": text() for name in _COLUMNS}).named(
        "schema_mapping"
    ),
    "date_format": text().named("date_format"),
    "delimiter": text().named("delimiter"),
    "timezone": text().named("timezone"),
}
_ADAPTERS = {"ccxt": record(_CCXT), "yfinance": record(_YFINANCE), "csv": record(_CSV)}
_FORM = record({"adapters": record(_ADAPTERS)})


def adapter_settings(source: str, cwd: FilePath | None = None) -> Mapping[str, Any]:
    """Return the constructor arguments for a source from ``./config/data_adapters.yaml``.

    Args:
        source: ``ccxt``, ``yfinance`` or ``csv``; anything after a colon is ignored. Other sources
            have no arguments in the file.
        cwd: Folder that contains ``config``; None means the current one.

    Returns:
        A new mapping with the arguments that the file contains; times are in seconds. For ccxt,
        these can be ``exchange_id`` and ``timeout``; for yfinance, ``timeout`` and ``adjustment``
        (``split`` or ``all``); for csv, ``schema_mapping``, ``date_format``, ``delimiter`` and
        ``timezone``.

    Raises:
        ConfigError: The file cannot be read; a :class:`RulesError` lists every error with its
            line.
    """
    path = (working_dir() if cwd is None else cwd) / ADAPTERS_FILE
    if not path_check(path.is_file, path):
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    return dict(_parse_settings(path, data).get(source.partition(":")[0], {}))


@lru_cache(4)
def _parse_settings(path: FilePath, data: bytes) -> dict[str, dict[str, Any]]:
    """Parse the constructor arguments for each source; warn about keys that have no effect.

    The warning is issued once for each version of the file.
    """
    document = read_yaml(data)
    problems = [*document.problems, *_FORM.check(document.value, ())]
    if problems:
        raise document.error(str(path), problems)
    adapters = document.value.get("adapters") or {}
    without_effect = [
        f"{source}.{key}"
        for source, keys in adapters.items()
        for key, value in (keys or {}).items()
        if key in ("retry_attempts", "retry_delay")
        or (key == "rate_limit" and not as_switch(value))
    ]
    if without_effect:
        _log.warning(
            "%s: %s: no effect; limits and retries come from the rules (providers, failover)",
            path,
            ", ".join(without_effect),
        )
    return {source: attributes(_ADAPTERS[source].keys, adapters[source]) for source in adapters}
