"""Binance's public archive: a zip file for every month of every pair, with its checksum."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...model.bars import Bar, BarTable
from ...model.capabilities import FetchQuery, Limits
from ...model.http import HttpRequest, HttpResponse
from ...model.instant import date_of
from ..base import BaseDataDownloader
from ..dates import number
from ..paging import readable

_SPOT = re.compile(r"https://(data-api\.binance\.vision|api\d?(-gcp)?\.binance\.com)")
# Milliseconds have 13 digits until the year 2286; the archive's stamps have 16 since 2025-01-01.
_MICROSECONDS = 10**14


def is_own(base_url: str) -> bool:
    """Tell whether a host serves the vendor's spot API alone; any other one speaks for all of it."""
    return _SPOT.fullmatch(base_url) is not None


def milliseconds(stamp: int) -> int:
    """Return a stamp of the vendor's in milliseconds."""
    return stamp // 1000 if stamp >= _MICROSECONDS else stamp


_HOST = "https://data.binance.vision"
# Files on a content network; nobody says how many may be asked for.
_LIMITS = Limits(per_minute=300)


class BinanceArchive(BaseDataDownloader):
    """Whole months of bars as files. They are the very bars that the API answers.

    Behind another ``base_url`` the files are looked for at that host.
    """

    def month_url(self, query: FetchQuery) -> str:
        """Return where the file of the month lies that ``query`` begins with."""
        who, label = query.instrument.spelling(self.name).upper(), query.timeframe.label
        host = _HOST if is_own(self.base_url) else self.base_url
        month = f"{date_of(query.span.start):%Y-%m}"
        return f"{host}/data/spot/monthly/klines/{who}/{label}/{who}-{label}-{month}.zip"

    def read_month(self, lines: Iterable[str], query: FetchQuery) -> BarTable:
        """Read rows as those of the API, parted by commas; newer files begin with their names.

        Stamps are milliseconds until 2024, microseconds since.
        """
        with readable(self.name, "bars"):
            rows = (line.split(",") for line in lines if line and not line.startswith("open_time"))
            bars = [Bar(milliseconds(int(r[0])), *map(number, r[1:6])) for r in rows]
            return BarTable.from_bars(bars)

    def send_aside(self, requests: Iterable[HttpRequest]) -> list[HttpResponse]:
        """Carry requests to the archive; it has limits and a circuit of its own.

        Raises:
            DataError: one of them was not answered; the others were not sent.
        """
        asked = list(requests)
        sender = self._access.account().sender
        assert sender is not None, "who has nothing to send with has asked for no bars"
        aside = sender.aside("archive", _LIMITS)
        with aside.guard("months", asked[0].url):
            return [aside.send(request, vendor=self.name) for request in asked]
