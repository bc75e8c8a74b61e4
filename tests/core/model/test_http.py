"""Tests the checks on addresses, redirects and JSON bodies of requests and responses."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from src.data.core.model.request import http
from src.data.core.model.request.http import HttpResponse, address_on, path_and_query
from src.data.errors import ResponseFormatError

ASKED = "https://api.vendor.example/v2/bars"

# Addresses that some reader of addresses takes to another host than others, or that are none.
HOSTILE = [
    "x:@evil.example/steal", "https://api.vendor.example@evil.example/x", "//u@evil.example/x",
    "https://evil.example\\@api.vendor.example/x", "https:\\\\evil.example/x", "javascript:alert(1)",
    "https://api.vendor.example:99999/x", "https://[::1/x", "file:///etc/passwd",
    "https://api.vendor.example\n.evil.example/x", "https://evil.example /x", "data:,x",
    "https://api.vendor.ex\u0430mple/x",
]  # fmt: skip


@pytest.mark.parametrize("address", HOSTILE)
def test_an_address_that_hides_its_host_is_refused(address: str) -> None:
    with pytest.raises(ResponseFormatError):
        path_and_query(address)
    with pytest.raises(ResponseFormatError):
        address_on(ASKED, address)


@pytest.mark.parametrize(
    "address",
    ["http://api.vendor.example/v2/bars", "https://api.vendor.example:8443/x", "//evil.example/x",
     "https://evil.example/v2", "https://api.vendor.example.evil.example/"],
)  # fmt: skip
def test_a_redirect_stays_with_scheme_host_and_port(address: str) -> None:
    with pytest.raises(ResponseFormatError, match="redirects to another host"):
        address_on(ASKED, address)


@pytest.mark.parametrize(
    "address, followed",
    [
        ("/new?a=b%20c", "https://api.vendor.example/new?a=b%20c"),
        ("other", "https://api.vendor.example/v2/other"),
        ("https://API.vendor.example:443/new", "https://api.vendor.example/new"),
        ("?cursor=2", "https://api.vendor.example/v2/bars?cursor=2"),
    ],
)
def test_a_redirect_on_the_same_host_is_an_address(address: str, followed: str) -> None:
    assert address_on(ASKED, address) == followed


def test_of_the_next_page_path_and_query_count_alone() -> None:
    assert path_and_query("https://new.example/v2/a?cursor=x%3D") == "/v2/a?cursor=x%3D"
    assert path_and_query("https://new.example//evil.example/a") == "/evil.example/a"


SHAPES = {
    "empty lists": (b"[", b"[],", b"0]"),
    "empty dicts": (b"[", b"{},", b"0]"),
    "dicts of a key": (b"[", b'{"":{}},', b"0]"),
    "lists in lists": (b"[", b"[" * 50 + b"]" * 50 + b",", b"0]"),
    "dicts in dicts": (b"[", b'{"":' * 50 + b"0" + b"}" * 50 + b",", b"0]"),
    "numbers": (b"[", b"1e9,", b"0]"),
    "texts": (b"[", b'"\xc3\xa9\xc3\xa9",', b"0]"),
    "a text": (b'["', b"aaaa", b'"]'),
    "a wide text": (b'["\xf0\x9f\x98\x80', b"aaaa", b'"]'),
    "a text of another script": ('["\u5e01'.encode(), b"aaaa", b'"]'),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_json_that_would_take_too_much_is_not_parsed(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What parsing takes is measured: it is never more than what is counted as allowed."""
    start, piece, end = SHAPES[shape]
    body = start + piece * (100_000 // len(piece)) + end
    tracemalloc.start()
    json.loads(body)
    _, taken = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    monkeypatch.setattr(http, "MOST_PARSED_BYTES", taken - len(body) // 10)
    with pytest.raises(ResponseFormatError, match="of values"):
        HttpResponse(200, body=body).json()
    monkeypatch.setattr(http, "MOST_PARSED_BYTES", 5 * taken)
    assert HttpResponse(200, body=body).json()
