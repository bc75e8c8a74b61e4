"""An older path of a job that now lives in ``onetape.data.jobs.refresh_fundamentals``."""

from ..jobs.refresh_fundamentals import (
    cleanup_fundamentals,
    get_cached_symbols,
    load_symbols_from_file,
    refresh_fundamentals,
    refresh_symbol_fundamentals,
)

__all__ = [
    "cleanup_fundamentals",
    "get_cached_symbols",
    "load_symbols_from_file",
    "refresh_fundamentals",
    "refresh_symbol_fundamentals",
]

if __name__ == "__main__":
    from ..cli.populate import main_refresh as main

    raise SystemExit(main())
