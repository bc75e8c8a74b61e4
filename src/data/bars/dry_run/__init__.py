"""Plans that show what a request would do and cost, without querying a vendor or writing."""
