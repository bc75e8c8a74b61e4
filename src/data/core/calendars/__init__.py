"""When markets trade: sessions, closes, day and month buckets, ranges, gaps, finality. Pure."""
