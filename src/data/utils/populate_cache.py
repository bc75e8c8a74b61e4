"""An older path of the populate job, which now lives in ``onetape.data.jobs.populate``."""

from ..compat.populator import CachePopulator
from ..jobs.populate import populate_cache

__all__ = ["CachePopulator", "populate_cache"]

if __name__ == "__main__":
    from ..cli.populate import main

    raise SystemExit(main())
