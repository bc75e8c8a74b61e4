"""The blocks of Python on README, the pages of docs and the skill, and the output shown below each."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# What the package teaches agents that write programs.
SKILL = ROOT / "onetape" / ".agents" / "skills" / "onetape" / "SKILL.md"
# A block of Python; directly below it, fenced without a language or as text, what it prints.
_BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\n```(?:text)?\n(.*?)^```$)?", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        page: name of its file.
        line: of the page, on which its code begins.
        section: heading that it stands under; empty above the first.
        code: what is run.
        printed: what is shown as its output; empty where nothing is.
    """

    page: str
    line: int
    section: str
    code: str
    printed: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def run(self, names: dict[str, Any]) -> None:
        """Run it among ``names``; it must print what is shown, whatever the blanks between words."""
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile("\n" * (self.line - 1) + self.code, self.page, "exec"), names)
        assert out.getvalue().split() == self.printed.split(), f"{self} prints:\n{out.getvalue()}"


def pages() -> dict[str, list[Block]]:
    """Return README, the skill and each page of docs that has Python, with its blocks."""
    files = (ROOT / "README.md", SKILL, *sorted((ROOT / "docs").rglob("*.md")))
    return {file.name: found for file in files if (found := list(_blocks(file)))}


def _blocks(file: Path) -> Iterator[Block]:
    text = file.read_text("utf-8")
    assert text.count("```python") == len(_BLOCK.findall(text)), (
        f"{file.name} has a block of another form"
    )
    for match in _BLOCK.finditer(text):
        above = text[: match.start(1)]
        headings = re.findall(r"^## (.*)$", above, re.MULTILINE)
        yield Block(
            file.name,
            above.count("\n") + 1,
            headings[-1] if headings else "",
            match[1],
            match[2] or "",
        )
