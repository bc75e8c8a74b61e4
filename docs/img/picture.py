"""Draw the pictures of README and the pages, each as an SVG without fonts of elsewhere.

Run by ``make pictures``. All are drawn from the sample bars of the extra ``demo``, or from bars that are
made, so a picture changes only where the code does; what ``onetape demo`` prints has measured times in it
besides.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1]))
WIDTH = 100
COMMAND = [sys.executable, "-m", "src.data", "demo", "--offline"]


def main() -> None:
    """Write every picture."""
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), "utf-8")


def terminal() -> str:
    """Return what ``onetape demo`` prints, as a terminal shows it."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "LINES": "60"}
    shown = subprocess.run(
        COMMAND, cwd=FOLDER.parents[1], env=environment, capture_output=True, text=True, check=True
    )
    text = re.sub(r"\S*/onetape-demo-\w+", "a temporary folder", shown.stdout)
    screen = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    screen.print(Text.from_ansi("$ onetape demo\n" + text.rstrip()))
    picture = screen.export_svg(title="onetape", unique_id="demo")
    # The fonts that rich would load from the web: any monospaced one of the reader's will do.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    # Not every viewer keeps runs of no-break spaces; all keep runs that are declared to be kept.
    return picture.replace("&#160;", " ").replace("<text ", '<text xml:space="preserve" ') + "\n"


def chart() -> str:
    """Return the chart of a year of sample bars."""
    from src.data.data_manager import DataManager

    with tempfile.TemporaryDirectory(prefix="onetape-pictures-") as folder:
        manager = DataManager(Path(folder))
        picture = manager.plot("AAPL", "1d", "2012-01-03", "2012-12-31", provider="demo")
        return picture.svg() + "\n"


def survivorship() -> str:
    """Return the members of then beside today's, of the made-up market of the example."""
    import pandas as pd

    from examples.survivorship import FIRST, make_market, panel, value
    from src.data import plot

    names = {"members of 2015-01-02": FIRST, "members of today": None}
    with (
        tempfile.TemporaryDirectory(prefix="onetape-pictures-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)  # what they say is what is drawn
        manager = make_market(Path(folder))
        values = {name: value(panel(manager, as_of)) for name, as_of in names.items()}
    frames = {
        name: pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), column))
        for name, column in values.items()
    }
    return plot(frames).svg() + "\n"


PICTURES: dict[str, Callable[[], str]] = {
    "demo.svg": terminal,
    "chart.svg": chart,
    "survivorship.svg": survivorship,
}


if __name__ == "__main__":
    main()
