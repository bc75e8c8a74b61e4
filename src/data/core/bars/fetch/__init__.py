"""Fetches the bars that a request lacks: the plan, the queries to vendors, and the comparisons."""
