"""What a request would do and cost, without asking a vendor or writing."""
