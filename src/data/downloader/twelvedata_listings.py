"""How Twelve Data writes an instrument, and the listing that is meant."""

from __future__ import annotations

from ..errors import CapabilityError
from ..model.instrument import Instrument

# Our suffixes to its exchanges; the others are not served, for a wrong listing is a wrong price.
VENUES = {
    "L": "XLON",
    "DE": "XETR",
    "F": "XFRA",
    "PA": "XPAR",
    "AS": "XAMS",
    "BR": "XBRU",
    "LS": "XLIS",
    "MI": "XMIL",
    "MC": "XMAD",
    "SW": "XSWX",
    "CO": "XCSE",
    "ST": "XSTO",
    "HE": "XHEL",
    "OL": "XOSL",
    "TO": "XTSE",
    "V": "XTSX",
    "T": "XTKS",
    "HK": "XHKG",
    "SS": "XSHG",
    "SZ": "XSHE",
}


def listing(instrument: Instrument) -> dict[str, str]:
    """Return the parameters that name an instrument.

    Raises:
        CapabilityError: it is listed where Twelve Data is not asked.
    """
    spelled = instrument.spelling("twelvedata")
    if instrument.base is not None and instrument.quote is not None:
        own = "twelvedata" in instrument.spellings
        return {"symbol": spelled if own else f"{instrument.base}/{instrument.quote}"}
    if instrument.calendar == "24/7":  # the caller's own word for it
        return {"symbol": spelled}
    body, dot, suffix = spelled.rpartition(".")
    if not dot:
        # Without the country a foreign share of the same name may answer.
        return {"symbol": spelled.replace("-", "."), "country": "United States"}
    if suffix not in VENUES:
        raise CapabilityError(
            f"Twelve Data is not asked for listings with .{suffix}", symbol=instrument.symbol
        )
    return {"symbol": body, "mic_code": VENUES[suffix]}
