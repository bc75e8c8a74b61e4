"""A chat with a bot in this terminal, without a token and without a network.

::

    python -m tests.vendor_server.chat python examples/telegram_bot/bot.py

starts the local server, then the command with the variables that lead it there: the Bot API, and vendors
whose markets are invented and trade now. What is typed is written to the bot; charts are saved in the
current folder. Ctrl-D ends it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from onetape.data.core.clock import SystemClock

from .bot_api import TOKEN, Sent, Telegram
from .server import VendorServer

USER = 1
_LIMITS = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
PATIENCE_S = 120.0
_RULES = """\
crypto: {{backup: [yahoo]}}
providers:
  binance: {{base_url: '{binance}', transport: http}}
  coingecko: {{base_url: '{binance}'}}
  yahoo: {{base_url: '{yahoo}', transport: http, rate_limits: {limits}}}
"""


def variables(server: VendorServer, folder: Path) -> Mapping[str, str]:
    """Return the environment of a bot that asks nothing but the server; its files are in ``folder``."""
    rules = folder / "rules.yaml"
    places = {vendor: server.base_url(vendor) for vendor in ("binance", "yahoo")}
    rules.write_text(_RULES.format(limits=_LIMITS, **places))
    return {
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_BASE_URL": server.base_url("telegram") + "/bot",
        "ONETAPE_RULES": str(rules),
        "DATA_CACHE_DIR": str(folder / "cache"),
        "ONETAPE_STATE_DIR": str(folder / "state"),
        "DB_URL": f"sqlite:///{folder / 'records.db'}",
        "BOT_CHATS": str(USER),
    }


def shown(sent: Sent, folder: Path) -> str:
    """Return a message of the bot as lines; its picture is saved."""
    lines = [f"< {line}" for line in sent.text.splitlines()]
    if sent.photo is not None:
        path = folder / f"chart-{sent.message_id}.png"
        path.write_bytes(sent.photo)
        lines.insert(0, f"< [{path.name}]")
    return "\n".join(lines)


def talk(people: Telegram, lines: Iterable[str]) -> None:
    """Write each line to the bot; return when all of them have an answer."""
    texts = [people.write(USER, line) for line in map(str.strip, lines) if line]
    people.wait_sent(USER, len(texts), PATIENCE_S)


def _show(people: Telegram, folder: Path, is_over: threading.Event) -> None:
    """Print the bot's messages as they come, to the last one."""
    count = 0
    while not is_over.is_set() or len(people.sent(USER)) > count:
        for sent in people.wait_sent(USER, count + 1, timeout_s=0.2)[count:]:
            print(shown(sent, folder), flush=True)
            count += 1


def main(command: list[str]) -> int:
    """Run a bot and talk to it."""
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, VendorServer(SystemClock()) as server:
        people = server.face("telegram")
        assert isinstance(people, Telegram)
        is_over = threading.Event()
        printer = threading.Thread(target=_show, args=(people, Path.cwd(), is_over))
        printer.start()
        bot = subprocess.Popen(command, env=os.environ | dict(variables(server, Path(folder))))
        try:
            talk(people, sys.stdin)
        except KeyboardInterrupt:
            pass
        finally:
            is_over.set()
            printer.join()
            bot.terminate()
            people.close()
            bot.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
