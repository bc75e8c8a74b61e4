"""Plans that show what a query would do and cost, without querying a vendor or writing."""
