"""When markets trade: sessions, closes, buckets of days and months, ranges, gaps, finality. Pure."""
