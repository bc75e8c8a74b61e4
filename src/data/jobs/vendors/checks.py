"""The form of all checks of an installation, as ``doctor``, ``providers`` and metrics show them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, get_args

__all__ = ["LEVELS", "Check", "fault", "note", "ok"]

Level = Literal["ok", "note", "fault"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        level: ``ok`` if everything is in order, ``fault`` if something is to be fixed, ``note`` if
            neither applies.
        name: Section and topic, such as ``places cache``.
        sentence: Finding as text.
        remedy: Recommended action; empty if nothing needs to be done.
    """

    level: Level
    name: str
    sentence: str
    remedy: str = ""

    @property
    def section(self) -> str:
        """The first word of the name."""
        return self.name.partition(" ")[0]

    @property
    def topic(self) -> str:
        """The name without its section."""
        return self.name.partition(" ")[2]

    def to_json(self) -> dict[str, Any]:
        """Return the check as a JSON-serializable dictionary."""
        return {name: getattr(self, name) for name in ("name", "level", "sentence", "remedy")}


ok, note, fault = (partial(Check, level) for level in ("ok", "note", "fault"))
