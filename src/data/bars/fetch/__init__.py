"""Fetches what a request lacks from vendors: the plan, the queries, and the comparisons."""
