"""How the user's own files are laid out, and how their times are read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from ..errors import ConfigError
from ..model.instant import to_ms
from ..model.kind import ADJUSTMENTS, Adjustment

DEMO = "demo"
LABELS: Final = ("start", "end")
ANCHORS: Final = ("clock", "session")
_LABELS = "1m 2m 3m 5m 15m 30m 1h 90m 2h 4h 6h 8h 12h 1d 3d 1w 1M"
# Seconds since 1970 have at most 11 digits, milliseconds 13, microseconds 16, nanoseconds 19.
_EPOCH_SCALES = ((10**11, 1000), (10**14, 1), (10**17, 1e-3))


@dataclass(frozen=True)
class LocalFiles:
    """The layout of a folder of bars.

    Attributes:
        folder: where the files lie; None for a packaged data set.
        dataset: ``demo`` for the sample data, else empty.
        pattern: name of a file in the folder; ``{symbol}`` and ``{timeframe}`` are filled in. An
            ending may be left out: ``.csv``, ``.csv.gz`` and ``.parquet`` are tried.
        columns: our column name to the file's, where they differ; ``volume`` is None where the bars
            have none.
        time_column: the column of the stamps.
        time_format: ``strptime`` format of the stamps; ISO 8601 and epoch numbers need none.
        timezone: what naive stamps mean.
        label: ``end`` where stamps are the closes of bars, else ``start``.
        anchor: ``clock`` where bars of minutes and hours begin on the full minute or hour,
            ``session`` where they are counted from the session's open; empty: not known.
        timeframes: our label to the file name's, where they differ.
        adjustment: what the prices are adjusted for.
        unit: currency or unit of the prices.
        dense: whether a missing bar is a hole.
    """

    folder: Path | None = None
    dataset: str = ""
    pattern: str = "{symbol}_{timeframe}"
    columns: Mapping[str, str | None] = field(default_factory=dict)
    time_column: str = "timestamp"
    time_format: str = ""
    timezone: str = "UTC"
    label: str = "start"
    anchor: str = ""
    timeframes: Mapping[str, str] = field(default_factory=dict)
    adjustment: Adjustment = "unknown"
    unit: str = ""
    dense: bool = False

    @classmethod
    def demo(cls) -> LocalFiles:
        """Return the layout of the sample data of the ``demo`` extra."""
        return cls(
            dataset=DEMO, pattern="{symbol}", time_column="date", adjustment="raw", unit="USD"
        )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> LocalFiles:
        """Read the ``providers.local`` section of the rules.

        Raises:
            ConfigError: a key or value is not understood; the message says which.
        """
        given = {key: value for key, value in mapping.items() if value is not None}
        if given.get("dataset"):
            if given["dataset"] != DEMO:
                raise ConfigError(f"unknown dataset {given['dataset']!r}", hint=f"there is {DEMO}")
            return cls.demo()
        known = [f.name for f in fields(cls)]
        for key in given.keys() - set(known):
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"providers.local.{key} is not known",
                hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}",
            )
        if "folder" in given:
            given["folder"] = Path(str(given["folder"]))
        return cls(**given)

    def __post_init__(self) -> None:
        if self.folder is None and not self.dataset:
            raise ConfigError("no folder is set for `local`", hint="set providers.local.folder")
        for name, choices, more in (
            ("adjustment", ADJUSTMENTS, "unknown"),
            ("label", LABELS, "start"),
            ("anchor", ANCHORS, ""),
        ):
            if getattr(self, name) not in (*choices, more):
                raise ConfigError(
                    f"providers.local.{name} {getattr(self, name)!r} is not known",
                    hint=f"there are {', '.join(choices)}",
                )
        if "{symbol}" not in self.pattern:
            raise ConfigError("providers.local.pattern must hold {symbol}")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError) as exc:
            raise ConfigError(f"providers.local.timezone {self.timezone!r} is unknown") from exc

    @property
    def has_volume(self) -> bool:
        """Whether the bars are to have a volume; their owner may say that there is none."""
        return self.columns.get("volume", "volume") is not None

    def labels(self) -> dict[str, str]:
        """Return every timeframe that may be asked for, to its text in file names."""
        if self.dataset:
            return {"1d": "1d"}
        return {label: label for label in _LABELS.split()} | dict(self.timeframes)

    def wall_time(self, text: str) -> datetime:
        """Return the stamp in ``text`` as an aware datetime in the file's time zone.

        Raises:
            ValueError: it is none.
        """
        text = text.strip()
        if self.time_format:
            return self._aware(datetime.strptime(text, self.time_format))
        if text.lstrip("-").isdigit() and len(text) != len("YYYYMMDD"):
            return datetime.fromtimestamp(_epoch_ms(int(text)) / 1000, UTC).astimezone(
                ZoneInfo(self.timezone)
            )
        return self._aware(datetime.fromisoformat(text))

    def _aware(self, moment: datetime) -> datetime:
        zone = ZoneInfo(self.timezone)
        return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)


def instant_ms(moment: datetime) -> int:
    """Return ``moment`` in UTC milliseconds."""
    return to_ms(moment)


def _epoch_ms(number: int) -> float:
    for below, factor in _EPOCH_SCALES:
        if abs(number) < below:
            return number * factor
    return number / 10**6
