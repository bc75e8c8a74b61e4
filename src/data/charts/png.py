"""A chart as a PNG, drawn by matplotlib's Agg canvas: no window, no pyplot, no user settings."""

from __future__ import annotations

import io
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError, install_line
from ..forks import renew_after_fork
from .chart import Chart
from .layout import PAINTS, Label, Rects, Shape, layout_of

_DPI = 72  # a point is a pixel
_FONTS = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}
_NO_GLYPH = "□"


class _DrawingLock:
    """A lock that lets only one thread draw at a time, because matplotlib's fonts are not thread-safe."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock in a forked child, because a thread of the parent may have held it."""
        self.lock = threading.Lock()


_drawing = _DrawingLock()


def png_of(chart: Chart, width: int = 800, height: int = 500) -> bytes:
    """Return a chart as a PNG on a light background.

    The PNG's metadata contains the title and the counts of rows. Thread-safe.

    Args:
        chart: Chart to draw.
        width, height: Size in pixels, from 200 to 8,000.

    Raises:
        MissingExtraError: matplotlib is not installed (extra ``plot``).
        QueryError: The size is invalid.
    """
    layout = layout_of(chart, width, height)
    with _drawing.lock:
        canvas, figure = _canvas(width, height)
        for order, shape in enumerate(layout.shapes):
            artist = _artist(shape, height)
            artist.set(zorder=order, clip_on=False, sketch_params=None, path_effects=[])
            figure.add_artist(artist)
        target = io.BytesIO()
        # Without the first entry, matplotlib would write its web address into the file.
        metadata = {"Software": None, "Title": chart.title, "Description": str(layout.counts)}
        canvas.print_png(target, metadata=metadata)
    return target.getvalue()


def _canvas(width: int, height: int) -> tuple[Any, Any]:
    """Return a canvas of the given size in pixels, and its figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise MissingExtraError(
            "drawing a chart as PNG needs the `plot` extra", hint=install_line("plot")
        ) from missing
    # The canvas truncates fractions, and a quotient may be just below an integer.
    size = ((width + 0.001) / _DPI, (height + 0.001) / _DPI)
    # No automatic layout by the library, whatever the user's settings.
    options: Any = {"layout": "none", "facecolor": PAINTS["paper"][0]}
    figure = Figure(figsize=size, dpi=_DPI, **options)
    return FigureCanvasAgg(figure), figure


def _artist(shape: Shape, height: int) -> Any:
    if isinstance(shape, Label):
        return _text(shape, height)
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline
    from matplotlib.transforms import IdentityTransform

    color = PAINTS[shape.paint][0]
    if isinstance(shape, Rects):
        left, top, right, bottom = shape.corners.T
        x = np.stack([left, right, right, left, left], 1).ravel()
        y = np.stack([top, top, bottom, bottom, top], 1).ravel()
        code = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
        codes = np.tile(code, len(shape.corners))
        paint: dict[str, Any] = {"facecolor": color, "edgecolor": "none", "linewidth": 0}
    else:
        points = np.concatenate(shape.points) if shape.points else np.empty((0, 2))
        x, y = points.T
        codes = np.full(len(points), Outline.LINETO)
        codes[np.cumsum([0, *(len(line) for line in shape.points[:-1])])[: len(points)]] = (
            Outline.MOVETO
        )
        paint = {"facecolor": "none", "edgecolor": color, "linewidth": shape.width}
    outline = Outline(np.stack([x, height - y], 1), codes)
    outline.should_simplify = False
    return PathPatch(outline, transform=IdentityTransform(), antialiased=True, snap=False, **paint)


def _text(label: Label, height: int) -> Any:
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text
    from matplotlib.transforms import IdentityTransform

    file, letters = _font(label.is_bold)
    across: Any = {"start": "left", "middle": "center", "end": "right"}[label.anchor]
    return Text(
        label.x,
        height - label.y,
        "".join(letter if ord(letter) in letters else _NO_GLYPH for letter in label.text),
        color=PAINTS[label.paint][0],
        fontproperties=FontProperties(fname=file, size=label.size),
        horizontalalignment=across,
        verticalalignment="center_baseline",
        transform=IdentityTransform(),
        transform_rotates_text=False,
        # A dollar sign in a symbol does not start a formula.
        parse_math=False,
        usetex=False,
    )


@cache
def _font(is_bold: bool) -> tuple[str, frozenset[int]]:
    """Return the path of a font that comes with matplotlib, and the characters in the font."""
    from matplotlib import get_data_path
    from matplotlib.font_manager import get_font

    file = str(Path(get_data_path(), "fonts", "ttf", _FONTS[is_bold]))
    return file, frozenset(get_font(file).get_charmap())
