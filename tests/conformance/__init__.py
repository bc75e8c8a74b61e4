"""Conformance checks for every vendor; ``python -m tests.conformance`` prints which ones pass."""
