"""Corrections to ``exchange_calendars``, each with its source.

A calendar combines these with the library's own declarations; anything that the library adds later
is counted only once. Times are local.
"""

from __future__ import annotations

from datetime import date, time
from typing import NamedTuple

# Days without trading.
CLOSED: dict[str, dict[str, str]] = {
    "XHKG": {
        # Typhoon Saola; black rainstorm.
        "2023-09-01": "https://www.hkex.com.hk/News/Market-Communications/2023/2309012news",
        "2023-09-08": "https://www.hkex.com.hk/News/Market-Communications/2023/2309083news",
    },
    # The longest recent closure of Moscow for shares, apart from a buyback.
    "XMOS": {
        f"2022-{day}": "https://cbr.ru/eng/press/pr/?file=02032022_080000ENG_PP02032022_114139.htm"
        for day in (
            "02-28",
            "03-01",
            "03-02",
            "03-03",
            "03-04",
            "03-09",
            "03-10",
            "03-11",
            "03-14",
            "03-15",
            "03-16",
            "03-17",
            "03-18",
            "03-21",
            "03-22",
            "03-23",
        )
    },
    "XPHS": {
        # The lockdown of Luzon; typhoon Karding; typhoon Carina.
        "2020-03-17": "https://mb.com.ph/2023/3/27/pse-expects-to-resume-trading-tomorrow",
        "2020-03-18": "https://mb.com.ph/2023/3/27/pse-expects-to-resume-trading-tomorrow",
        "2022-09-26": "https://www.philstar.com/business/2022/09/25/2212248/"
        "philippine-stock-exchange-no-trading-monday-sept-26",
        "2024-07-24": "https://mb.com.ph/2024/7/24/typhoon-carina-halts-philippine-financial-markets",
    },
    "XTAE": {
        # Municipal elections.
        "2024-02-27": "https://www.tase.co.il/en/content/knowledge_center/trading_vacation_schedule",
        # The Sunday before the first week with trading from Monday to Friday.
        "2026-01-04": "https://www.newsru.co.il/finance/25dec2025/tase304.html",
    },
    "XTAI": {
        # Typhoon Kong-rey.
        "2024-10-31": "https://www.ndtvprofit.com/world/"
        "as-taiwan-braces-for-super-typhoon-kong-rey-check-live-tracker-landfall-time-and-more",
    },
}

# Days on which trading started late.
LATE_OPENS: dict[str, dict[str, time]] = {
    "XHKG": {
        # https://www.hkex.com.hk/News/Market-Communications/2020/2008192news
        "2020-08-19": time(13, 30),
        # https://www.hkex.com.hk/News/Market-Communications/2021/2106283news
        "2021-06-28": time(13, 30),
    },
}

# The usual closing times, each with the date from which it applies (None: from the beginning).
CLOSE_TIMES: dict[str, tuple[tuple[str | None, time], ...]] = {
    # The library has futures trade through Globex maintenance, until 17:00 in Chicago.
    # Before: https://daytradetowin.com/e-mini-other-futures-change-closing-times-nov-18-2012
    # From then on: https://ninjatrader.com/Advisories/Advisory25
    "CMES": ((None, time(16, 15)), ("2015-09-21", time(16))),
}


class SessionPause(NamedTuple):
    """A daily trading pause for some of an exchange's products, in local time.

    Attributes:
        exchange: Code of the exchange whose sessions the products follow.
        start, end: Times of day at which trading stops and resumes.
        until: First session date without the pause.
    """

    exchange: str
    start: time
    end: time
    until: date


# Pauses, by the name of the calendar for these products, which is otherwise the exchange's.
PAUSES: dict[str, SessionPause] = {
    # Equity index futures pause while the stock market's day is settled. The last time was on
    # Friday 2021-06-25: https://www.cmegroup.com/notices/electronic-trading/2021/06/20210621.html
    "CMES@equity": SessionPause("CMES", time(15, 15), time(15, 30), date(2021, 6, 28)),
}
