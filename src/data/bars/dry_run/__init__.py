"""What a request would do and cost, without querying a vendor or writing."""
