"""``onetape mcp``: tools for agents, over standard input and output."""

from __future__ import annotations

import argparse

from .arguments import command, option
from .cached import manager_of

EXAMPLES = ("mcp", "mcp --at 2024-06-28")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "--at DATE", "answer as of this date or UTC time in the past")
    option(parser, "--may-fetch", "query vendors for data that is missing")
    about = "An agent's program starts this command; see `onetape docs server`."
    command(
        parser, run, f"{about} Without --may-fetch, only the cache, samples and own files are read."
    )


def run(args: argparse.Namespace) -> int:
    """Serve until the input ends; the exit code is 0."""
    from ..server.agents import serve_agents
    from ..server.facts import Facts

    manager = manager_of(args, makes_folder=True)
    serve_agents(Facts(manager, may_fetch=args.may_fetch, moment=args.at))
    return 0
