"""Controls the size of a cache folder: limit, eviction, deletion, usage."""
