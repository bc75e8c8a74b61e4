"""Jobs: longer work on top of the facade, such as filling the cache for many series."""
