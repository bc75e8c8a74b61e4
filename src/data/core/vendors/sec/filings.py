"""The SEC's requests: a list of tickers, and submissions, facts and covers of one filer.

Two hosts answer: ``data.sec.gov`` and ``www.sec.gov``. The SEC demands a contact address in the
User-Agent, allows 10 requests a second over all machines of a user, and blocks for ten minutes with
status 403 (2026-09).
"""

from __future__ import annotations

from typing import ClassVar

from ....errors import ConfigError, DataError, RateLimitedError, ResponseFormatError
from ...config.schema import ADDRESS
from ...model.request.capabilities import Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...net.http.status import error_of
from ...registry import VENDORS
from ..base import BaseDataDownloader
from .answers import Part

_CONTACT = "SEC_CONTACT"
_BLOCKED_S = 600.0


class SecDataDownloader(BaseDataDownloader):
    """Filings of American companies; it serves no bars. A contact address is needed instead of a key."""

    name = "sec"
    display_name = "SEC"
    aliases = VENDORS["sec"].aliases
    secrets = VENDORS["sec"].keys
    requires_api_key = True
    credential = "contact address"
    limits = Limits(per_second=5)
    default_base_url: ClassVar[str] = "https://data.sec.gov"

    def tickers(self) -> bytes:
        """Return the list of today's tickers.

        Raises:
            DataError: The SEC refused or failed.
        """
        with self.endpoint_call("filings"):
            return self._get(f"{self._www}/files/company_tickers.json")

    def submissions(self, cik: int) -> bytes:
        """Return a filer's submissions; for errors, see :meth:`tickers`."""
        return self._of_filer(cik, f"{self.base_url}/submissions/CIK{cik:010d}.json")

    def part(self, cik: int, part: Part) -> bytes:
        """Return an older part of a filer's submissions; for errors, see :meth:`tickers`."""
        return self._of_filer(cik, f"{self.base_url}/submissions/{part.name}")

    def facts(self, cik: int) -> bytes:
        """Return a filer's facts.

        Raises:
            SymbolNotFoundError: The filer has none, as funds do.
            DataError: The SEC refused or failed.
        """
        return self._of_filer(cik, f"{self.base_url}/api/xbrl/companyfacts/CIK{cik:010d}.json")

    def cover(self, cik: int, accession: str) -> bytes:
        """Return the cover page of a filing; for errors, see :meth:`facts`."""
        return self._of_filer(cik, f"{address_of(cik, accession, self._www)}/R1.htm")

    @property
    def contact(self) -> str:
        """The contact address.

        Raises:
            ConfigError: It is not a plain e-mail address.
        """
        contact = self.secret(_CONTACT)
        if not ADDRESS.fullmatch(contact):
            raise ConfigError(
                "the SEC needs a contact address, which is not a plain e-mail address here",
                hint=f"set {_CONTACT} or providers.sec.contact to one such as name@example.org",
            )
        return contact

    @property
    def _www(self) -> str:
        """The address of documents and lists; a local server answers for both hosts."""
        return self.base_url.replace("//data.sec.gov", "//www.sec.gov")

    def _of_filer(self, cik: int, url: str) -> bytes:
        with self.guarded_call("filings", url):
            return self._get(url)

    def _get(self, url: str) -> bytes:
        agent = {"User-Agent": f"onetape {self.contact}"}
        return self.send(HttpRequest(url, secret_headers=agent)).body

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error of a response; status 403 is a block of ten minutes, a page is not data."""
        if response.status == 403:
            return RateLimitedError("HTTP 403 from the SEC: blocked for ten minutes", _BLOCKED_S)
        starts = response.body[:200].lstrip().lower()
        is_page = starts.startswith((b"<!doctype html", b"<html")) and "/R1.htm" not in response.url
        if response.status == 200 and is_page:
            return ResponseFormatError.of_page("the SEC returned a page instead of data")
        return error_of(response)


def address_of(cik: int, accession: str, www: str = "https://www.sec.gov") -> str:
    """Return the address of a filing's folder."""
    return f"{www}/Archives/edgar/data/{cik}/{accession.replace('-', '')}"
