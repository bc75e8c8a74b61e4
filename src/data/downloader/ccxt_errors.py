"""What ccxt's errors mean here."""

from __future__ import annotations

from ..errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    ProviderTimeoutError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    TransientError,
    UnavailableError,
)
from ..model.http import HttpResponse
from ..net.carriers.ccxt_carrier import ERROR_HEADER
from ..net.status import error_of, retry_after_s

# ccxt's names for errors; of a subclass that is not here, that of its base counts.
_ERRORS: dict[str, type[DataError]] = {
    "BadSymbol": SymbolNotFoundError,
    "RateLimitExceeded": RateLimitedError,
    "DDoSProtection": RateLimitedError,
    "RequestTimeout": ProviderTimeoutError,
    "NetworkError": UnavailableError,
    "OperationFailed": UnavailableError,
    "PermissionDenied": EntitlementError,
    "AccountNotEnabled": EntitlementError,
    "AuthenticationError": AuthenticationError,
    "BadResponse": ResponseFormatError,
    "BadRequest": CapabilityError,
    "NotSupported": CapabilityError,
    "ExchangeError": CapabilityError,
}


def error_said(response: HttpResponse, who: str) -> DataError | None:
    """Return the error that ccxt made of an answer of ``who``, else what its status says."""
    names = response.headers.get(ERROR_HEADER, "").split()
    if not names:
        return error_of(response)
    kind = next((_ERRORS[name] for name in names if name in _ERRORS), CapabilityError)
    said = f"{who} refused, by ccxt's word {names[0]}"
    if kind is RateLimitedError:
        return RateLimitedError(said, retry_after_s(response))
    # ccxt calls whoever answers a status that it does not expect "not available".
    by_status = error_of(response) if issubclass(kind, TransientError) else None
    return by_status or kind(said)
