"""An older path of a job that now lives in ``onetape.data.jobs.refresh_fundamentals``."""

from ..jobs.refresh_fundamentals import (
    periodic_refresh,
)

__all__ = ["periodic_refresh"]

if __name__ == "__main__":
    from ..cli.populate import main_periodic

    raise SystemExit(main_periodic())
