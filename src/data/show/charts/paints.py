"""The colours of charts: on light paper, and on dark paper. Pure."""

from __future__ import annotations

# Maps the name of each paint to its colour on light paper and on dark paper.
PAINTS = {
    "paper": ("#ffffff", "#14181f"),
    "ink": ("#1c2430", "#e4e8ee"),
    "faint": ("#5d6878", "#9aa5b5"),
    "line": ("#e3e7ec", "#2a323e"),
    "gap": ("#f3e3c3", "#4a3d22"),
    "gap-name": ("#8a5c00", "#e0ae4a"),
    "up": ("#0b7a5c", "#35c391"),
    "down": ("#c2362b", "#ff7b6b"),
    "up-pale": ("#a5d3c5", "#1f5a48"),
    "down-pale": ("#efb9b4", "#6e3a35"),
    "volume": ("#b4bdc9", "#4b5668"),
    "split": ("#7a3fc4", "#c39bff"),
    "dividend": ("#1f5fbf", "#7fb0ff"),
    "doubt": ("#c2362b", "#ff7b6b"),
    "buy": ("#0b7a5c", "#35c391"),
    "sell": ("#c2362b", "#ff7b6b"),
    "note": ("#1f5fbf", "#7fb0ff"),
}
# Colours of lines and vendors, which can be told apart from each other and from the paper.
_HUES = (
    "#1f5fbf #c25a00 #0b7a5c #a32f7a #5d6878 #8a6d00 #ff00ff #5a1e00 #9600ff #4b0087 "
    "#9687e1 #ff3c87 #3ca500 #004b00 #0000ff #0f3c5a #1ea5a5 #a50000 #b48787 #c300c3",
    "#7fb0ff #ffab5e #35c391 #f08ccb #aab4c3 #d9bd45 #c300ff #f00f00 #00ff00 #967800 "
    "#4bffff #4b69ff #008796 #f00fa5 #a56996 #ffe1e1 #009600 #b478ff #e1f000 #ff4bff",
)
HUES = len(_HUES[0].split())
PAINTS |= {f"hue-{n}": (_HUES[0].split()[n], _HUES[1].split()[n]) for n in range(HUES)}


def hue(index: int) -> str:
    """Return the paint of the line or vendor at a position; after the last hue, they begin again."""
    return f"hue-{index % HUES}"


def dash(index: int) -> int:
    """Return the style of the line at a position: 0 for the first eight, then 1, 2, 3, and 0 again."""
    return index // 8 % 4


def styles() -> str:
    """Return the colours as CSS variables, with those of dark screens last."""
    light, dark = (
        "".join(f"--p-{name}:{pair[index]};" for name, pair in PAINTS.items()) for index in (0, 1)
    )
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
