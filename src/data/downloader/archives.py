"""Bars of whole months from a vendor's archive of files, each checked against its checksum."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from ..errors import ResponseFormatError
from ..model.bars import BarTable
from ..model.capabilities import FetchQuery
from ..model.http import HttpRequest, HttpResponse

# A month of minutes takes five MiB; a file that says it is larger is not opened.
_LARGEST = 64 * 1024 * 1024


class Archive(Protocol):
    """What is needed of a vendor that has one."""

    name: str

    def month_url(self, query: FetchQuery) -> str:
        """Return where the zip file of a month lies; ``.CHECKSUM`` behind it is its SHA-256."""

    def read_month(self, lines: Iterable[str], query: FetchQuery) -> BarTable:
        """Read the lines of the file."""

    def send_aside(self, requests: Iterable[HttpRequest]) -> list[HttpResponse]:
        """Carry requests to the archive, at its own pace."""


def fetch_month(vendor: Archive, query: FetchQuery) -> tuple[BarTable, int]:
    """Return all bars of the month that ``query`` spans, and the requests that it took.

    Raises:
        ResponseFormatError: the file is not what its checksum says, or does not hold every bar of
            the month: then nothing tells whether the vendor has more of them.
        DataError: the archive did not answer, or has no such file.
    """
    url = vendor.month_url(query)
    told, packed = vendor.send_aside(HttpRequest(address) for address in (f"{url}.CHECKSUM", url))
    digest = hashlib.sha256(packed.body).hexdigest()
    if told.text.partition(" ")[0].strip().lower() != digest:
        raise ResponseFormatError(f"{_leaf(url)} is not the file that its checksum is of")
    table = vendor.read_month(_lines(packed.body, url), query)
    _check_whole(table, query, url)
    return table, told.requests + packed.requests


def _lines(packed: bytes, url: str) -> list[str]:
    """Return the lines of the one file in a zip file.

    Raises:
        ResponseFormatError: it is no zip file, or holds something else than one file of usual size
            and of its own name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as opened:
            inside = opened.infolist()
            if len(inside) != 1 or inside[0].file_size > _LARGEST:
                raise ResponseFormatError(f"{_leaf(url)} does not hold one file of usual size")
            if (named := inside[0].filename.rpartition(".")[0]) not in _leaf(url):
                raise ResponseFormatError(f"{_leaf(url)} holds a file of {named[:40]!r}")
            return opened.read(inside[0]).decode("ascii").splitlines()
    except (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, NotImplementedError) as exc:
        raise ResponseFormatError(f"{_leaf(url)} cannot be unpacked ({exc})") from exc


def _check_whole(table: BarTable, query: FetchQuery, url: str) -> None:
    step = query.timeframe.step_ms or 1
    expected = np.arange(query.span.start, query.span.end, step, dtype=np.int64)
    if not np.array_equal(table.stamps, expected):
        raise ResponseFormatError(
            f"{_leaf(url)} holds {len(table):,} bars, not the {len(expected):,} of its month"
        )


def _leaf(url: str) -> str:
    return url.rpartition("/")[2]
