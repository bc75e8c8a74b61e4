"""The keys that ``make test-live`` gets in ``.github/workflows/live.yml``, by the rows of the registry.

``python -m tests.contract.live_keys`` writes them anew.
"""

from __future__ import annotations

import re

from src.data.core.registry import SERVED, key_names
from tests.contract.source import ROOT

PATH = ROOT / ".github" / "workflows" / "live.yml"
# Binance's bars need no key; a key for another plan of CoinGecko is sent to another address.
NOT_NEEDED = {"BINANCE_API_KEY", "BINANCE_API_SECRET", "COINGECKO_PRO_API_KEY"}
_BLOCK = re.compile(r"( +env:  # Made by `make lists`\.\n)(?: +\w+: \$\{\{ secrets\.\w+ \}\}\n)*")


def replaced(text: str) -> str:
    """Return the text of the workflow with a line for each key that a vendor of the registry needs."""
    names = {name for vendor in SERVED for name in key_names(vendor)} - NOT_NEEDED
    lines = "".join(f"          {name}: ${{{{ secrets.{name} }}}}\n" for name in sorted(names))
    return _BLOCK.sub(lambda at: at[1] + lines, text)


if __name__ == "__main__":
    PATH.write_text(replaced(PATH.read_text("utf-8")), "utf-8")
