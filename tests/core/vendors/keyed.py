"""What tests of vendors that need a key share."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.prices.quality import CheckedRows, check
from src.data.core.vendors.base import BaseDataDownloader
from src.data.errors import MissingCredentialsError, ResponseFormatError, UnavailableError
from tests.core.net.scripted import ScriptedTransport, answer, sender_over

KEY = "CANARY-0123456789"
AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")

V = TypeVar("V", bound=BaseDataDownloader)


def keyed(cls: type[V], *answers: Any) -> tuple[V, ScriptedTransport]:
    """Return a vendor with a key, over a script."""
    transport = ScriptedTransport(*answers)
    return cls(api_key=KEY, sender=sender_over(transport)), transport  # type: ignore[call-arg]


def line_of(request: HttpRequest) -> str:
    """Return the address with its query as it may be logged."""
    query = "&".join(f"{name}={value}" for name, value in request.params.items())
    return f"{request.url}?{query}"


def checked(found: Fetched, asked: FetchQuery) -> CheckedRows:
    """Judge an answer as the router does."""
    return check(found.table, asked.span, timeframe=asked.timeframe, now_ms=asked.now_ms)


def assert_keeps_its_key(vendor: BaseDataDownloader, asked: FetchQuery, env: str) -> None:
    """Assert that the key is sent, and in no text that is shown."""
    request = vendor.bars_request(asked, None)
    assert KEY in {*request.secret_params.values(), *request.secret_headers.values()}
    shown = [request, line_of(request), request.headers, vendor, vars(vendor)]
    assert KEY not in repr(shown)
    with pytest.raises(MissingCredentialsError, match="needs a key") as caught:
        type(vendor)(credentials={}, sender=sender_over(ScriptedTransport()))
    assert isinstance(caught.value, ValueError)
    assert env in str(caught.value.hint)


def assert_fails_clearly(
    vendor: BaseDataDownloader, asked: FetchQuery, whole: HttpResponse
) -> None:
    """See what comes of server errors, HTML and half an answer; none of it shows the key."""
    assert vendor.classify(whole) is None
    assert type(vendor.classify(answer(b"<html>", 503))) is UnavailableError
    halved = HttpResponse(200, {}, whole.body[: len(whole.body) // 2])
    for body in (b"<html>come back later</html>", b"", b"null", b"17", b'{"x": [1]}', halved.body):
        with pytest.raises(ResponseFormatError) as caught:
            keyed(type(vendor), HttpResponse(200, {}, body))[0].fetch(asked)
        assert KEY not in str(caught.value) + repr(caught.value.__cause__)
        assert caught.value.provider == vendor.name
