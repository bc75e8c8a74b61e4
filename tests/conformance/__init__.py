"""The checks that every vendor passes alike; ``python -m tests.conformance`` prints who passes what."""
