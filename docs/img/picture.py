"""Make the README's picture: what ``onetape demo`` prints, as an SVG without fonts of elsewhere.

Run ``python docs/img/picture.py > docs/img/demo.svg``.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

from rich.console import Console
from rich.text import Text

WIDTH = 100
COMMAND = [sys.executable, "-m", "src.data", "demo", "--offline"]


def main() -> None:
    """Print the picture."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "LINES": "60"}
    shown = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True)
    text = re.sub(r"\S*/onetape-demo-\w+", "a temporary folder", shown.stdout)
    screen = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    screen.print(Text.from_ansi("$ onetape demo\n" + text.rstrip()))
    picture = screen.export_svg(title="onetape")
    # The fonts that rich would load from the web: any monospaced one of the reader's will do.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    # Not every viewer keeps runs of no-break spaces; all keep runs that are declared to be kept.
    print(picture.replace("&#160;", " ").replace("<text ", '<text xml:space="preserve" '))


if __name__ == "__main__":
    main()
