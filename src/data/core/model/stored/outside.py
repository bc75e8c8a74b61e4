"""Distinguishes own texts from texts that may quote a vendor, a file or a user's code. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ....errors import (
    AllProvidersFailedError,
    BundleError,
    CacheError,
    ConfigError,
    CorruptEntryError,
    DataError,
    FeatureError,
    QueryError,
    RulesError,
    UniverseError,
)
from ...registry import VENDORS, family_of, is_of_files, lies_apart
from .reasons import is_own

# Errors about arguments, settings and the cache, and those among them that quote files or code.
_OWN = (QueryError, ConfigError, CacheError)
_QUOTING = (BundleError, CorruptEntryError, FeatureError, RulesError, UniverseError)


_OWN_NOTE = re.compile(
    r"(?:(?:the market is closed until |the latest known price is from )[\w:.-]+(?:; |\Z)"
    r"|this close may still be corrected)*"
).fullmatch


def sends_nothing(provider: str | None) -> bool:
    """Return whether a vendor is a sample, own files, recordings or made-up bars; False for None."""
    return provider is not None and lies_apart(provider)


def is_own_reason(reason: str, provider: str | None = None) -> bool:
    """Return whether the reason for a gap or a state is certainly this library's own.

    Args:
        reason: The reason, as it is stored or in words.
        provider: The only vendor that it may quote, if known. Samples and made-up bars have no
            words of others.
    """
    return is_own(reason) or (sends_nothing(provider) and not is_of_files(provider or ""))


def is_own_error(error: DataError, *, is_sent: bool) -> bool:
    """Return whether an error's message is certainly this library's own.

    Args:
        error: The error.
        is_sent: Whether requests were allowed. If not, an error without attempts quotes nobody.
    """
    if isinstance(error, AllProvidersFailedError):
        names = [attempt.provider for attempt in error.attempts]
        is_quiet = all(is_own_reason("", name) for name in names) if names else not is_sent
        return is_quiet and not error.candidates  # vendors list the names that are suggested
    return isinstance(error, _OWN) and not isinstance(error, _QUOTING)


def is_own_note(note: str) -> bool:
    """Return whether the note on a quote is certainly this library's own."""
    return _OWN_NOTE(note) is not None


def of_others(reasons: Mapping[str, str]) -> list[str]:
    """Return the reasons, by vendor, that are about vendors from outside this package."""
    return [why for name, why in reasons.items() if family_of(name) not in VENDORS]
