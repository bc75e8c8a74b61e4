"""The pipeline over real sockets: the vendors are the scripted server, the clock stands still."""

from tests.jobs.conftest import rules

__all__ = ["rules"]
