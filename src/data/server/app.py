"""The application behind ``onetape serve``: pages, bars for programs, a stream and counters."""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.model.answer.proof import fingerprint
from ..core.model.answer.provenance import ATTRS_KEY
from ..errors import CacheError, DataError, QueryError
from .bars import EventsAfter, arrow_of, columns_of, etag_of, json_of, number_of
from .brief import brief_of
from .facts import Facts

if TYPE_CHECKING:
    from .first_page import Board

__all__ = ["application"]

ARROW = "application/vnd.apache.arrow.stream"
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
    "vary": "Accept",
}
# What to do about a request that is refused, by status, and about any other.
_HINT = "`onetape docs server` lists the addresses, which answer GET requests only"
_HINTS = {
    401: "send the header `Authorization: Bearer TOKEN`",
    403: "pages of other sites get no answers",
    421: "use the address that `onetape serve` printed",
    429: "close one before you open another",
}
# How browsers mark requests of other sites' pages, and of those of other ports of this machine.
_OTHERS = ("cross-site", "same-site")
# Most open streams of one client.
_MOST_STREAMS = 50
# Seconds between two looks at the store for a reader of the stream.
_LOOK_S = 1.0
# Seconds after which a reader of the stream that takes nothing is dropped.
_SLOW_S = 30.0


class Guard:
    """Refuses requests without the token or, if none is set, those that other sites' pages make.

    A page of another site can lead a browser here under its own name (DNS rebinding), so the name is
    compared with those that this server was started for. It can also request addresses here without
    reading the answers, such as images, which would use up vendors' limits; browsers mark such requests.
    A link that is followed is allowed. A page cannot know the token.

    Args:
        app: Application behind the guard.
        hosts: Names and addresses under which the server may be reached.
        token: Token that each request must have; empty means none is needed.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            """Send a part of the response, with the headers that every response has."""
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(request := Request(scope))
        app = self._app if refusal is None else await _refused(request, refusal)
        await app(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> HTTPException | None:
        """Return the reason why a request is refused, or None."""
        headers = request.headers
        if self._token:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if hmac.compare_digest(given.encode(), self._token.encode()):
                return None
            return HTTPException(401, "the token is missing or wrong")
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.lower() not in self._hosts:
            return HTTPException(421, "this server does not answer under that name")
        is_followed = headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site") in _OTHERS and not is_followed:
            return HTTPException(403, "a page of another site made this request")
        return None


def application(
    facts: Facts,
    hosts: Collection[str],
    token: str = "",
    look_s: float = _LOOK_S,
    slow_s: float = _SLOW_S,
) -> ASGIApp:
    """Return the application. It answers GET requests only, and changes nothing.

    Args:
        facts: Facts to answer from.
        hosts: Names and addresses under which the server may be reached.
        token: Token that each request must have; empty means none is needed.
        look_s: Seconds between two looks at the store for a reader of the stream.
        slow_s: Seconds after which a reader of the stream that takes nothing is dropped.
    """

    # What only pages need is imported by the first page, so that the server answers soon.
    @cache
    def board() -> Board:
        """Return the state of the installation."""
        from .first_page import Board

        return Board(facts.manager)

    # What reads files is not a coroutine: Starlette runs it in a thread.
    def first_page(request: Request) -> Response:
        """Answer with what needs attention."""
        from .pages import board_page

        values = board().to_json()
        return _answer(request, values, lambda: board_page(values))

    def series_page(request: Request) -> Response:
        """Answer with everything about one series."""
        from ..show.reports.report import report_of
        from ..show.reports.report_pages import page_of
        from .pages import page

        names = request.path_params
        report = report_of(facts.manager, names["symbol"], names["timeframe"])
        render = partial(page, symbol=names["symbol"])
        make = partial(page_of, report.data, report.charts, render=render)
        return _answer(request, report.to_json(), make)

    def brief(request: Request) -> Response:
        """Answer with the brief on a symbol."""
        from .pages import brief_page

        found = brief_of(facts, request.path_params["symbol"])
        return _answer(request, found.to_json(), lambda: brief_page(found.title, str(found)))

    def metrics(_: Request) -> Response:
        """Answer with the counters in Prometheus' text format."""
        from ..core.observability.prometheus import exposition

        text, kind = exposition(facts.manager)
        return Response(text, media_type=kind)

    routes: dict[str, Callable[..., Any]] = {
        "/": first_page,
        "/series/{symbol:path}/{timeframe}": series_page,
        "/brief/{symbol:path}": brief,
        "/v1/bars/{symbol:path}/{timeframe}": partial(_bars, facts),
        "/v1/stream": partial(_stream, facts, look_s, slow_s, Counter()),
        "/metrics": metrics,
        "/static/{name}": _static,
        "/alive": _alive,
    }
    app = Starlette(
        routes=[Route(path, run, methods=["GET"]) for path, run in routes.items()],
        exception_handlers={DataError: _refused, HTTPException: _refused},
    )
    # Around the whole application, so that responses about its own faults have the headers too.
    return Guard(app, hosts, token)


def _static(request: Request) -> Response:
    """Answer with a script or style sheet of the pages."""
    from .pages import asset

    found = asset(request.path_params["name"])
    if found is None:
        raise CacheError("there is no such file")
    return Response(found[0], media_type=found[1])


async def _alive(_: Request) -> Response:
    """Answer that the server works."""
    return JSONResponse({"ok": True})


def _bars(facts: Facts, request: Request) -> Response:
    """Answer with bars as JSON columns or as an Arrow stream."""
    options: dict[str, Any] = dict(request.query_params)
    if "bars" in options:
        options["bars"] = number_of("bars", options["bars"])
    unknown = options.keys() - {"start", "end", "bars", "adjustment", "session", "provider"}
    if unknown:
        raise QueryError(f"unknown argument {min(unknown)!r:.40}")
    names = request.path_params
    query = facts.query(names["symbol"], names["timeframe"], **options)
    is_arrow = ARROW in request.headers.get("accept", "")
    form = "arrow" if is_arrow else "json"
    tag = etag_of(facts, query, form)
    if tag and tag == request.headers.get("if-none-match"):
        return Response(status_code=304, headers={"etag": tag})
    frame = facts.manager.client.get(query)
    headers = {"etag": tag or f'"{fingerprint(frame)}-{form}"'}
    if is_arrow:
        return Response(arrow_of(frame), media_type=ARROW, headers=headers)
    body = json_of(facts.about(frame.attrs[ATTRS_KEY], query), columns_of(frame))
    return Response(body, media_type="application/json", headers=headers)


class _Stream(StreamingResponse):
    """A stream of events, each reader of which is served by itself: a slow one delays no other.

    A reader that takes nothing for ``slow_s`` seconds is dropped, because its bars are kept in memory
    meanwhile. It reads what was sent before, then the end, and continues with ``Last-Event-ID``.
    """

    def __init__(
        self, events: AsyncGenerator[str, None], slow_s: float, is_open: Counter[str], client: str
    ) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._events, self._slow_s = events, slow_s
        self._open, self._client = is_open, client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, which counts as an open stream of its client meanwhile."""
        self._open[self._client] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._open[self._client] -= 1

    async def stream_response(self, send: Send) -> None:
        """Send the events until the reader leaves, or takes nothing for too long."""

        async def send_soon(message: Message) -> None:
            """Send a part of the response, or raise an error if that takes too long."""
            async with asyncio.timeout(self._slow_s):
                await send(message)

        try:
            await super().stream_response(send_soon)
        except TimeoutError:
            await self._events.aclose()


async def _stream(
    facts: Facts, look_s: float, slow_s: float, is_open: Counter[str], request: Request
) -> Response:
    """Answer with the bars of a series as they are stored."""
    names, after = request.query_params, request.headers.get("last-event-id")
    source = await run_in_threadpool(
        EventsAfter, facts, names.get("symbol", ""), names.get("timeframe", ""), after
    )
    if request.method == "HEAD":
        return Response(media_type="text/event-stream")
    client = request.client.host if request.client else ""
    if is_open[client] >= _MOST_STREAMS:
        raise HTTPException(429, f"{client} has {_MOST_STREAMS} open streams")
    return _Stream(_events(source, look_s), slow_s, is_open, client)


async def _events(source: EventsAfter, look_s: float) -> AsyncGenerator[str, None]:
    """Yield the events of a stream until its reader leaves."""
    while True:
        async for events in iterate_in_threadpool(source.new()):
            yield events
        yield ": \n\n"  # notices a reader that has left
        await asyncio.sleep(look_s)


def _answer(request: Request, values: Any, page: Callable[[], str], **options: Any) -> Response:
    """Return an answer as a page if the request accepts one, else as JSON."""
    if "text/html" in request.headers.get("accept", ""):
        return Response(page(), media_type="text/html", **options)
    return JSONResponse(values, **options)


async def _refused(request: Request, error: Exception) -> Response:
    """Answer with an error, as a page or as JSON."""
    from .pages import error_page

    hint = getattr(error, "hint", None) or ""
    text = str(error).removesuffix(f" ({hint})")
    status, headers = 400 if isinstance(error, QueryError) else 404, None
    if isinstance(error, HTTPException):
        status, text, headers = error.status_code, error.detail, error.headers
        hint = _HINTS.get(status, _HINT)
    told = {"type": type(error).__name__, "message": text, "hint": hint}
    make = partial(error_page, text, hint)
    return _answer(request, {"error": told}, make, status_code=status, headers=headers)
