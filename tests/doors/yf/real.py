"""The real yfinance, pointed at the local Yahoo server."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@contextmanager
def real_yfinance(base: str, folder: Path) -> Iterator[Any]:
    """Yield the package ``yfinance``: it asks the server at ``base``, and keeps its files in ``folder``."""
    import curl_cffi.requests as library
    import yfinance
    from yfinance.data import SingletonMeta, YfData

    class Session(library.Session):  # type: ignore[misc]
        """Sends what is meant for any of Yahoo's hosts to the server."""

        def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
            there = urlsplit(url)
            assert (there.hostname or "").endswith("yahoo.com"), url
            options["timeout"] = 300  # its ten seconds are too few on a busy machine
            query = f"?{there.query}" if there.query else ""
            return super().request(method, f"{base}{there.path or '/'}{query}", *args, **options)

    kept = dict(SingletonMeta._instances)
    SingletonMeta._instances.clear()
    yfinance.set_tz_cache_location(str(folder))
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    session = Session(impersonate="chrome")
    YfData(session=session)
    made: dict[Any, Any] = {}
    for module in ("base", "multi", "scrapers.history"):
        home: Any = importlib.import_module(f"yfinance.{module}")
        made[home] = home.new_session
        home.new_session = lambda: session
    try:
        yield yfinance
    finally:
        for home, new_session in made.items():
            home.new_session = new_session
        logging.getLogger("yfinance").setLevel(logging.NOTSET)
        session.close()
        SingletonMeta._instances.clear()
        SingletonMeta._instances.update(kept)
