"""Where the programs that tests start look for modules: they are kept off the network, too."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ROOT / "tests" / "offline"
# Folders of an installed wheel, which tests/packaging puts in place of the checkout.
INSTALLED = os.environ.get("ONETAPE_INSTALLED", "")
# For a test that sets up the environment of its program by itself.
PYTHONPATH = f"{OFFLINE}{os.pathsep}{INSTALLED or ROOT}"


def keep_programs_offline() -> None:
    """Have all programs that this process starts refuse to reach other machines."""
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    if str(OFFLINE) not in others:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(OFFLINE), *others])
