"""Answers requests from the sample bars; tables are returned as CSV text."""

from __future__ import annotations

import csv
import io
from hashlib import sha256
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

from ....errors import MissingExtraError, install_line
from ...model.request.http import HttpRequest, HttpResponse

PACKAGE = "bokeh_sampledata"
# The release whose numbers were checked, and the SHA-256 of each of its tables. Another release
# (2025.0) has split-adjusted volumes with the same prices, so unknown data is rejected.
RELEASE = "2026.1"
DIGESTS = {
    "AAPL": "722632d5a134a2b2c83d2e62cd929e6d56f2bfd27bc1777b8fd8beb0987ee3a1",
    "FB": "33421dc4e5d08db0180e586f2771cac746b13f1837ce86028dc44b1a1dbb9836",
    "GOOG": "54cbbee9411b46324bbc7a3db2b3e2478cfd86bf5acd36b977207d0f631917a7",
    "IBM": "a5d8edb3da5d7a3d663bbbbd9d95bbcd2812d7aa0703857bc322025fb0a53a61",
    "MSFT": "89c87c0f8c416f1937626e472c9ef01e0296e4234a6c398723893f9536146ab7",
}
SYMBOLS = tuple(DIGESTS)
_COLUMNS = ("date", "open", "high", "low", "close", "volume")


class SampleCarrier:
    """Answers ``file:`` requests with the bars of a sample stock as CSV text. Thread-safe."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the stock's table with status 200; the status is 404 if the stock is not in the sample.

        Raises:
            MissingExtraError: The samples are not installed, or are from another release.
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
        if sha256(body).hexdigest() != DIGESTS[symbol]:
            raise MissingExtraError(
                f"the installed sample bars for {symbol} differ from the verified ones",
                hint=f'install them with pip install "{PACKAGE}=={RELEASE}"',
            )
        return HttpResponse(200, {"content-type": "text/csv"}, body, request.url)


def not_installed() -> MissingExtraError:
    """Return the error for calls made while the sample package is not installed."""
    why = "the package with the sample bars is not installed"
    return MissingExtraError(why, hint=install_line("demo"))


def _stocks() -> Any:
    try:
        # Via the module rather than its files, whose layout changes between releases.
        return import_module(f"{PACKAGE}.stocks")
    except ImportError as exc:
        raise not_installed() from exc
