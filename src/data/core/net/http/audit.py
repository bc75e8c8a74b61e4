"""An audit log of every request and login that uses a key; the key itself is never logged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...model.request.http import HttpRequest
from .redact import where

if TYPE_CHECKING:
    from .send_records import SendRecord

# Off, like any logger at INFO, until the application turns it on; `docs/keys.md` shows how.
_log = logging.getLogger("onetape.audit")
_SHOWN_DIGITS = 8


def note_use(request: HttpRequest, record: SendRecord, account: Callable[[], str]) -> None:
    """Log a request that was sent with a key: its vendor, account, address and outcome.

    Args:
        request: Request that was sent; one without a key is not logged.
        record: Record of the attempt and its outcome.
        account: Function that returns the name under which the account is stored; called only if
            the logger is on.
    """
    has_key = bool(request.secret_params or request.secret_headers)
    if not has_key or not _log.isEnabledFor(logging.INFO):
        return
    facts = {
        "vendor": record.vendor,
        "account": fingerprint(account()),
        "method": request.method,
        "address": record.address,
        "attempt": record.attempt,
        "outcome": record.outcome,
        "status": record.status,
    }
    _log.info(
        "%(vendor)s account %(account)s: %(method)s %(address)s, attempt %(attempt)d: "
        "%(outcome)s (HTTP %(status)d)",
        facts,
        extra=facts,
    )


def note_login(
    vendor: str, address: str, attempt: int, outcome: str, account: Callable[[], str]
) -> None:
    """Log a login to a stream with a key.

    Args:
        vendor: Vendor of the stream.
        address: Address of the stream, without the key.
        attempt: Number of the attempt, counted from 1 since bars last arrived.
        outcome: ``ok``, the name of an error class, or ``unanswered``.
        account: Function that returns the name under which the account is stored; called only if
            the logger is on.
    """
    if not _log.isEnabledFor(logging.INFO):
        return
    facts = {
        "vendor": vendor,
        "account": fingerprint(account()),
        "method": "LOGIN",
        "address": where(address),
        "attempt": attempt,
        "outcome": outcome,
        "status": 0,
    }
    _log.info(
        "%(vendor)s account %(account)s: %(method)s %(address)s, attempt %(attempt)d: %(outcome)s",
        facts,
        extra=facts,
    )


def fingerprint(name: str) -> str:
    """Return the first characters of the digest in an account's name, which tell accounts apart."""
    return name.rpartition(":")[2][:_SHOWN_DIGITS]
