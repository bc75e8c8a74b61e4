"""What vendors say about the use of their data: the packaged table, without an opinion."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ...errors import ConfigError
from ..registry import family_of
from .packaged import packaged_path
from .yaml_text import read_yaml

NOT_READ = {"word": "not-read", "read": None, "address": None}


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str | None]]:
    try:
        rows = read_yaml(packaged_path("terms.yaml").read_bytes()).value["terms"]
        return {
            name: {key: str(row[key]) for key in ("word", "read", "address")}
            for name, row in rows.items()
        }
    except (OSError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"the packaged table of terms: {error}") from error


def terms_of(vendors: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Return each vendor's terms: ``word``, day of reading (``read``, ISO) and ``address``.

    ``word`` is ``personal-use``, ``no-redistribution``, ``attribution``, ``no-statement`` or
    ``public-domain``; for a vendor whose terms have not been read it is ``not-read``, and the others
    are None.

    Raises:
        ConfigError: The packaged table cannot be read.
    """
    return {name: dict(_table().get(family_of(name), NOT_READ)) for name in sorted(set(vendors))}
