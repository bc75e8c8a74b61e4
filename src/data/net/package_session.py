"""A session that vendors' packages can be handed, and that sends by our transport."""

from __future__ import annotations

from http.client import responses
from typing import Any
from urllib.parse import parse_qsl

import requests
from requests.structures import CaseInsensitiveDict

from ..model.http import HttpRequest, HttpResponse, check_parsed_size
from .http import Transport


class CarrierSession(requests.Session):
    """Looks like the HTTP library's session and sends everything by ``transport``.

    What a package asks is then capped, timed, verified and worded as our own requests are, and
    its own ideas of timeouts, redirects and retries come to nothing. For one thread only.

    Attributes:
        last: the newest answer, None before the first.
        requests: how many answers there were.
    """

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport
        self.begin()

    def begin(self) -> None:
        """Forget what was answered to the request before."""
        self.last: HttpResponse | None = None
        self.requests = 0

    def request(
        self, method: str | bytes, url: str | bytes, *args: Any, **options: Any
    ) -> requests.Response:
        """Send one request; options but what is asked are ours to decide."""
        prepared = requests.Request(
            str(method).upper(),
            str(url),
            params=options.get("params"),
            headers=options.get("headers"),
            data=options.get("data"),
        ).prepare()
        body = prepared.body or b""
        address, _, query = str(prepared.url).partition("?")
        answer = self._transport.send(
            HttpRequest(
                address,
                params=dict(parse_qsl(query, keep_blank_values=True)),
                headers=dict(prepared.headers),
                method=str(prepared.method),
                body=body.encode() if isinstance(body, str) else body,
            )
        )
        check_parsed_size(answer.body)  # packages parse by themselves
        self.last, self.requests = answer, self.requests + 1
        return _as_library_response(answer, prepared)


def _as_library_response(
    answer: HttpResponse, prepared: requests.PreparedRequest
) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.reason = responses.get(answer.status, "")  # a text: some packages put it into theirs
    response.headers = CaseInsensitiveDict(answer.headers)
    response._content = answer.body
    response.url = str(prepared.url)
    response.request = prepared
    response.encoding = "utf-8"
    return response
