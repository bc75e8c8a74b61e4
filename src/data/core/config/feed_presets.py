"""Presets of live feeds: small JSON files in ``config/data``, strictly checked.

Your own presets are in ``./config/data`` and take precedence over packaged ones of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from .packaged import packaged_path
from .rules_file import RELATIVE
from .schema import LOOPBACK, Form, Problem, number, record, switch, text, timeframe, whole
from .settings import path_check
from .yaml_text import MAX_BYTES, read_yaml

_FOLDER = RELATIVE.parent
PACKAGED = ("binance_btcusdt", "coingecko_ethusd", "ibkr_spy", "yahoo_aapl")
_KEYS: dict[str, Form] = {
    "data_source": text(),
    "symbol": text(),
    "interval": timeframe,
    "lookback_bars": whole(1),
    "retry_interval": number(0.1, 86_400),
    "testnet": switch,
    "host": text(),
    "port": whole(1),
    "client_id": whole(0),
    "market": text("spot", "futures"),
}
_preset = record(_KEYS, "data_source", "symbol", "interval")


def load_preset(name: str | Path) -> dict[str, Any]:
    """Return a preset in the form that the feed factory accepts.

    Args:
        name: Name such as ``binance_btcusdt``, or the path of a file (``.json``).

    Raises:
        ConfigError: The preset does not exist or cannot be read; if it is invalid, a
            :class:`.RulesError` lists every error with its line number.
    """
    path, data, is_named = _find_preset(name)
    document = read_yaml(data)  # JSON is a subset of YAML, and is read as strictly
    value = {} if document.value is None else document.value
    problems: list[Problem] = [*document.problems, *_preset.check(value, ())]
    problems += () if problems else _market(value)
    if not is_named and not problems and value.get("host", "localhost") not in LOOPBACK:
        problems.append(
            Problem(("host",), "not this machine; to allow it, give the path of the file")
        )
    if problems:
        raise document.error(f"the feed preset {path}", problems)
    return dict(value)


def _market(preset: dict[str, Any]) -> Iterator[Problem]:
    """Yield a problem if a preset requests a market that is not supported for its source."""
    if preset.get("market", "spot") == "spot":
        return
    source = preset["data_source"]
    if source.lower() != "binance":
        yield Problem(("market",), f"{source} has no {preset['market']} here; only binance does")
    elif preset.get("testnet"):
        yield Problem(("testnet",), f"binance's {preset['market']} have no testnet here")


def _find_preset(name: str | Path) -> tuple[Path, bytes, bool]:
    """Return a preset's path, its bytes, and whether the user named the file itself."""
    if str(name).endswith(".json"):
        return Path(name), _read(Path(name)), True
    preset = _FOLDER / f"{name}.json"
    if Path(name).name == str(name) and path_check(preset.is_file, preset):
        return preset, _read(preset), False
    if str(name) in PACKAGED:
        return preset, _read(packaged_path(preset.name)), True
    raise ConfigError(
        f"no feed preset {str(name)!r}: the file {preset} does not exist",
        hint=f"packaged presets: {', '.join(PACKAGED)}",
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"the feed preset {path} cannot be read: {exc.strerror}") from exc
