"""Calling code that is not ours, where anything may be raised."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..config.credentials import known_keys
from ..errors import DataError, ForeignError
from ..model.http import HttpRequest, HttpResponse
from ..net.http import Transport
from ..net.redact import without_keys
from ..net.sender import Sender

T = TypeVar("T")
_QUERY = re.compile(r"\?\S+")
_LONGEST_QUOTE = 200


def call_foreign(call: Callable[[], T], name: str) -> T:
    """Return what ``call`` returns; whatever it raises becomes an error of our tree.

    Raises:
        DataError: it raised one of ours; ``provider`` is set to ``name`` where it was not.
        ForeignError: it raised anything else, which is kept as the cause.
    """
    try:
        return call()
    except DataError as exc:
        exc.provider = exc.provider or name
        exc.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in exc.args)
        raise
    except Exception as exc:  # users' code may raise anything; others can still serve
        raise ForeignError(
            f"{name} raised {type(exc).__name__}: {_quote(exc)}", provider=name
        ) from exc


def _quote(exc: Exception) -> str:
    """Return the error's text, shortened, without the queries of URLs: they may hold keys."""
    return _QUERY.sub("?***", masked(str(exc)))[:_LONGEST_QUOTE]


def masked(text: str) -> str:
    """Return ``text`` without any key that is known here: others quote them in their errors."""
    return without_keys(text, known_keys().values())


class _Tracebacks(logging.Filter):
    """Masks keys in the tracebacks of records: they end with the texts of others' errors."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Write the traceback down as handlers will show it; every record is kept."""
        if record.exc_info and not record.exc_text:
            record.exc_text = masked("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


# The one logger of ours that is given tracebacks.
logging.getLogger("onetape.feed").addFilter(_Tracebacks())


class OwnSender(Protocol):
    """Gives what limits, repeats and counts the calls of one downloader of the program's own."""

    def __call__(self, carrier: Transport) -> Sender:
        """Return a sender that carries by ``carrier``."""


def call_own(call: Callable[[], T], name: str, door: str, make_sender: OwnSender | None) -> T:
    """Return what ``call`` returns, made as a vendor's requests are: limit, retries, circuit.

    Args:
        call: asks a downloader that is not ours.
        name: of the downloader.
        door: what it is asked for.
        make_sender: None: it is called once, as it is.

    Raises:
        DataError: as :func:`call_foreign`, the last attempt's; or it failed lately.
    """
    if make_sender is None:
        return call_foreign(call, name)
    carrier = _Calling(call, name)
    request, sender = HttpRequest(f"call://{name}/{door}"), make_sender(carrier)
    with sender.guard(door, request.url):
        sender.send(request, vendor=name, classify=lambda _: carrier.error)
    return carrier.results[-1]


class _Calling(Generic[T]):
    """Carries a request by a call; what comes of it stays here."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call, self._name = call, name
        self.error: DataError | None = None
        self.results: list[T] = []

    def send(self, request: HttpRequest) -> HttpResponse:
        """Call; an error is one of the answer, so that a plea to slow down is heard."""
        self.error = None
        try:
            self.results.append(call_foreign(self._call, self._name))
        except DataError as exc:
            self.error = exc
        return HttpResponse(0, url=request.url)
