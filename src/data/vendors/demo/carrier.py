"""Carries requests to the sample bars; every table comes back as CSV text."""

from __future__ import annotations

import csv
import io
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import MissingExtraError, install_line
from ...model.http import HttpRequest, HttpResponse

PACKAGE = "bokeh_sampledata"
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
_COLUMNS = ("date", "open", "high", "low", "close", "volume")


class SampleCarrier:
    """Answer ``file:`` requests with a sample share as CSV text. Thread-safe."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the table with status 200, or 404 for a symbol that is not among the samples.

        Raises:
            MissingExtraError: the samples are not installed.
        """
        symbol = unquote(urlsplit(request.url).path).lstrip("/")
        if symbol not in SYMBOLS:
            return HttpResponse(404, url=request.url)
        columns = getattr(_stocks(), symbol)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(zip(*(columns[name] for name in _COLUMNS), strict=True))
        body = text.getvalue().encode()
        return HttpResponse(200, {"content-type": "text/csv"}, body, request.url)


def _stocks() -> Any:
    try:
        # Through the module, not its files: their layout changes between releases.
        return import_module(f"{PACKAGE}.stocks")
    except ImportError as exc:
        raise MissingExtraError(
            "the sample bars are not installed", hint=install_line("demo")
        ) from exc
