"""Which datasets there are: an index that is made again of bundles, the store and ``catalog.jsonl``."""
