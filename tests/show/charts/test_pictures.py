"""Charts as SVG, HTML and PNG: their elements, saved files, hostile texts, and threads."""

from __future__ import annotations

import io
import linecache
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data import plot
from src.data.errors import MissingExtraError, QueryError, StorageError
from src.data.show.charts.chart import Chart
from src.data.show.charts.chart_page import html_of
from src.data.show.charts.draw import png_of, svg_of
from src.data.show.charts.overlays import overlaid
from src.data.show.charts.pages import packaged
from src.data.show.charts.paints import PAINTS
from src.data.show.charts.picture import ChartPicture
from src.data.show.charts.reading import chart_of
from tests.core.cache.counts import FULL
from tests.e2e.fresh import Fresh
from tests.show.frames import SHARE, frame_of, gap
from tests.show.hostile import shape
from tests.show.svgs import SVG, boxes, elements, shapes, signs, words

_SHARES = {"ACME": SHARE}
_GAPS = [gap("2024-01-04T00:00:00", "2024-01-08T00:00:00")]
_AROUND = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-08", "2024-01-09"])
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "]]></style><svg onload=alert(1)>",
    "$\\nope$ $x^2$",
    "javascript:alert(1) & \x1b[31m \u202e \x00 \ufffe",
    "日本 " * 40,
]


def _with(text: str) -> pd.DataFrame:
    """Return bars whose every text is this one."""
    gaps = [gap("2024-01-04T00:00:00", "2024-01-08T00:00:00", text)]
    flagged = [{"stamp": "2024-01-03T00:00:00Z", "reason": text}]
    kind = {"session": "regular", "unit": text, "anchor": "session"}
    told: dict[str, Any] = {"gaps": gaps, "flagged": flagged, "kind": kind, "substitute": text}
    frame = frame_of([1, 2, 3, 4], times=_AROUND, **told)
    frame.attrs["onetape"] = {**frame.attrs["onetape"], "symbol": text}
    frame["source"] = [text, "one", "one", text]
    return frame


def test_a_gap_breaks_its_own_line_only() -> None:
    frames = {
        "ACME": frame_of([1, 2, 3, 4], times=_AROUND, gaps=_GAPS),
        "OTHER": frame_of([1, 2, 3, 4, 5, 6], symbol="OTHER"),
    }
    svg = svg_of(chart_of(frames, _SHARES | {"OTHER": SHARE}))
    broken, whole = shapes(svg, "hue-0"), shapes(svg, "hue-1")
    assert [len(part) for part in broken] == [2, 2] and [len(part) for part in whole] == [6]
    assert not len(boxes(svg, "gap")), "the other line has bars there"
    assert broken[0][:, 0].max() < whole[0][2, 0] and broken[1][:, 0].min() > whole[0][3, 0]


def test_after_eight_colours_lines_differ_in_style_and_a_wrong_bar_is_an_arrow_at_the_edge() -> (
    None
):
    frames = {f"S{n}": frame_of([50, 50 + n, 60, 70, 70], symbol=f"S{n}") for n in range(17)}
    frames["S2"].iloc[3, :4] *= 100
    svg = svg_of(chart_of(frames))
    lines = [one for one in elements(svg) if "fill: none" in one.get("style", "")]
    dashes = [
        {found[1] for one in lines if PAINTS[f"hue-{n}"][0] in one.attrib["style"]
         if (found := re.search(r"stroke-dasharray: ([\d. ,]+)", one.attrib["style"]))}
        for n in (0, 7, 8, 15, 16)
    ]  # fmt: skip
    assert not dashes[0] and not dashes[1]
    assert len(dashes[2]) == 1 and dashes[2] == dashes[3] != dashes[4]
    legend = words(svg)
    for sign in ("— S7 ", "- - S8 ", "- - S15 ", "··· S16 "):
        assert any(text.startswith(sign) for text in legend), sign
    (arrow,) = signs(svg, "hue-2")
    (line,) = (part for part in shapes(svg, "hue-2") if len(part) > 3)
    assert arrow[1] == pytest.approx(62, abs=1), "the top of the picture"
    assert max(y for _, y in line) - sorted(y for _, y in line)[1] > 100, "it is not squeezed"


def test_a_gap_is_hatched_and_no_bar_is_drawn_in_it() -> None:
    frame = frame_of([1, 2, 3, 4], times=_AROUND, gaps=_GAPS)
    chart = overlaid(chart_of(frame, _SHARES), {"mean": frame["close"]})
    svg = svg_of(chart)
    ((left, _, right, _),) = boxes(svg, "gap")
    assert right - left > 100 and "<pattern" in svg
    for name in ("up", "volume"):
        bars = boxes(svg, name)
        assert len(bars) >= 4 and ((bars[:, 2] <= left + 0.1) | (bars[:, 0] >= right - 0.1)).all()
    assert [len(part) for part in shapes(svg, "hue-1")] == [2, 2], "no line is drawn across it"


def test_a_split_a_dividend_and_a_doubt_are_in_the_picture_and_its_legend() -> None:
    flagged = [{"stamp": "2024-01-05T00:00:00Z", "reason": "almost certainly wrong: spike"}]
    frame = frame_of([7, 7, 1, 1], flagged=flagged)
    plain = svg_of(chart_of(frame, _SHARES))
    frame["split"], frame["dividend"] = [0, 0, 7.0, 0], [0, 0.5, 0, 0]
    svg = svg_of(chart_of(frame, _SHARES))
    assert len(shapes(svg, "split")) == 1 and not shapes(plain, "split")
    assert len(signs(svg, "dividend")) == 1
    assert "split 7:1" in words(svg, "split") and "!" in words(svg, "doubt")
    legend = {"| 1 split", "◇ 1 dividend", "! 1 doubtful bar"}
    assert legend <= set(words(svg)) and not legend <= set(words(plain))
    assert "dividend 0.5 USD. almost" not in svg and "almost certainly wrong: spike" in svg


def test_bars_that_may_change_are_pale() -> None:
    frame = frame_of([1, 2, 3, 2])
    frame["state"] = ["final", "final", "provisional", "forming"]
    svg = svg_of(chart_of(frame, _SHARES))
    assert len(boxes(svg, "up")) == 4, "a wick and a body for each of two"
    assert len(boxes(svg, "up-pale")) == len(boxes(svg, "down-pale")) == 2
    assert "pale: may still change" in words(svg)


def test_a_picture_is_light_on_any_system() -> None:
    svg = svg_of(chart_of(frame_of([1, 2]), _SHARES))
    assert "prefers-color-scheme" not in svg and "currentColor" not in svg
    ((left, top, right, bottom),) = boxes(svg, "paper")
    assert (left, top, right, bottom) == pytest.approx((0, 0, 800, 500), abs=0.1)


def test_250_bars_are_a_few_elements() -> None:
    rng = np.random.default_rng(3)
    frame = frame_of(100 + np.cumsum(rng.normal(size=250)), "2023-01-03")
    svg = svg_of(chart_of(frame, _SHARES))
    assert len(elements(svg)) < 150
    assert len(svg) < 60_000
    assert "250 bars given: 250 drawn, 0 merged, 0 refused" in svg


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts_in_every_picture(text: str) -> None:
    picture = plot(_with(text))
    plain = plot(_with("usual"))
    assert shape(picture.html()) == shape(plain.html())
    tags = {one.tag.removeprefix(SVG) for one in elements(picture.svg())}
    assert tags <= {"svg", "title", "desc", "defs", "style", "g", "path", "text", "use", "rect",
                    "clipPath", "pattern"}  # fmt: skip
    assert picture.png().startswith(b"\x89PNG")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=40 if FULL else 15, deadline=None)
def test_no_text_becomes_an_element(text: str) -> None:
    chart = chart_of(_with(text), {text: SHARE})
    assert not {"script", "image", "a", "foreignObject"} & {
        one.tag.removeprefix(SVG) for one in elements(svg_of(chart))
    }
    assert html_of(chart).count("<script") == 2, "its data, its own script"


def test_no_picture_names_another_host() -> None:
    """But for the names of languages, which nothing loads."""
    page = plot(_with("https://example.org/x.js")).html()
    script = packaged("lightweight-charts.js")
    assert script in page
    page = page.replace(script, "")
    assert "src=" not in page and "@import" not in page and "url(" not in page
    own = plot(_with("usual"))
    hosts = re.compile(r"https?://[^\"' ]+")
    assert set(hosts.findall(own.svg())) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    # The link at the foot, which loads nothing, names whose script it is.
    assert set(hosts.findall(own.html().replace(script, ""))) == {"https://www.tradingview.com/"}
    assert b"http" not in own.png()


# --- PNG


def _pixels(png: bytes) -> Any:
    """Return the pixels of a PNG as an array of (height, width, 4)."""
    from PIL import Image  # comes with matplotlib

    return np.asarray(Image.open(io.BytesIO(png)))


def _colours(png: bytes) -> set[int]:
    """Return the colours of a picture, each as one number."""
    red, green, blue = _pixels(png)[..., :3].astype(int).reshape(-1, 3).T
    return set((red << 16 | green << 8 | blue).tolist())


def _rgb(name: str) -> int:
    return int(PAINTS[name][0][1:], 16)


@pytest.mark.parametrize("size", [(800, 500), (333, 217), (1999, 201)])
def test_a_png_has_its_size_and_the_colours_of_its_elements(size: tuple[int, int]) -> None:
    frame = frame_of([5, 7, 6, 8], times=_AROUND, gaps=_GAPS)
    frame["state"] = ["final", "final", "final", "provisional"]
    png = png_of(chart_of(frame, _SHARES), *size)
    assert _pixels(png).shape[:2] == (size[1], size[0])
    assert {_rgb(n) for n in ("up", "down", "up-pale", "gap", "volume", "paper")} <= _colours(png)
    assert _rgb("down-pale") not in _colours(png)
    assert b"4 bars given: 4 drawn, 0 merged, 0 refused" in png


def test_charts_drawn_in_threads_equal_those_drawn_alone() -> None:
    charts = [chart_of(frame_of([1.0, 2, n]), _SHARES) for n in range(1, 5)]
    alone = [png_of(chart, 300, 200) for chart in charts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda chart: png_of(chart, 300, 200), charts * 2))
    assert together == alone * 2


def test_a_chart_is_drawn_only_after_that_of_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    chart = chart_of(frame_of([1.0, 2]), _SHARES)
    usual, print_png = png_of(chart), FigureCanvasAgg.print_png
    drawing = list[int]()
    other = threading.Thread(target=png_of, args=(chart,))

    def is_blocked() -> bool:
        frame = sys._current_frames().get(other.ident or 0)
        line = frame and linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        return line is not None and line.strip().startswith("with _drawing.lock")

    @wraps(print_png)
    def watched(*arguments: Any, **more: Any) -> None:
        drawing.append(threading.get_ident())
        if len(drawing) == 1:
            other.start()
            while not is_blocked() and len(drawing) == 1:
                other.join(0.001)
            assert len(drawing) == 1, "two threads draw"
        print_png(*arguments, **more)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", watched)
    assert png_of(chart) == usual
    other.join()
    assert drawing == [threading.get_ident(), other.ident]


def test_settings_of_the_library_change_no_picture() -> None:
    import matplotlib as mpl

    chart = chart_of(frame_of([1.0, 2]), _SHARES)
    usual = png_of(chart, 300, 200)
    with mpl.rc_context(
        {"text.usetex": True, "figure.facecolor": "red", "path.sketch": (3, 9, 9)}
        | {"figure.autolayout": True, "savefig.dpi": 30, "font.size": 40}
    ):
        assert png_of(chart, 300, 200) == usual


def test_a_picture_without_the_plot_extra_raises_naming_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    picture = plot(frame_of([1, 2]))
    for form, draw in (("PNG", picture.png), ("SVG", picture.svg)):
        words = rf"drawing a chart as {form} needs the `plot` extra .*plot\]"
        with pytest.raises(MissingExtraError, match=words):
            draw()
    assert "2 bars given" in picture.html(), "a page needs no extra"
    assert "needs the `plot` extra" in picture._repr_html_()


def test_only_a_picture_loads_the_drawing_library(fresh: Fresh) -> None:
    script = (
        "import sys, pandas as pd, onetape\n"
        "stamps = pd.date_range('2024-01-01', periods=3)\n"
        "frame = pd.DataFrame({n: [1.0, 2, 3] for n in ('open', 'high', 'low', 'close')}, stamps)\n"
        "assert not any(n.startswith('onetape.data.show') for n in sys.modules)\n"
        "onetape.DataManager\n"
        "assert not any(n.startswith('onetape.data.show') for n in sys.modules)\n"
        "chart = onetape.plot(frame)\n"
        "chart.html()\n"
        "assert 'matplotlib' not in sys.modules\n"
        "chart.png()\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    fresh.run(script)


# --- files and notebooks


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.html", "a.HTM"])
def test_a_saved_chart_has_the_format_of_its_ending_and_replaces_an_older_file(
    tmp_path: Path, name: str
) -> None:
    picture, path = plot(frame_of([1, 2])), tmp_path / name
    path.write_text("older")
    assert picture.save(path) == path
    begin = {"png": b"\x89PNG", "svg": b"<svg", "html": b"<!doctype html>", "htm": b"<!doctype"}
    assert path.read_bytes().startswith(begin[name.lower().partition(".")[2]])
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert picture.save(str(path)) == path


@pytest.mark.parametrize("name", ["a.gif", "a", "png", ".png"])
def test_an_unknown_ending_of_a_chart_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(QueryError, match=r"use a name that ends in \.png, \.svg or \.html"):
        plot(frame_of([1, 2])).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = plot(frame_of([1, 2]))
    with pytest.raises(StorageError, match="does not exist"):
        picture.save(tmp_path / "none" / "a.svg")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(StorageError, match="it is a folder"):
        picture.save(tmp_path / "folder.svg")

    def full(*_: object) -> None:
        raise StorageError("no space") from OSError(28, "No space left on device")

    monkeypatch.setattr("src.data.core.disk.atomic.Disk.write", full)
    (tmp_path / "a.svg").write_text("older")
    with pytest.raises(StorageError, match="No space left on device"):
        picture.save(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text() == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.svg", "folder.svg"]


@pytest.mark.parametrize("name", ["a\0.svg", "n" * 300 + ".html", "n" * 300 + ".png"])
def test_a_name_that_no_file_can_have_is_a_typed_error(tmp_path: Path, name: str) -> None:
    with pytest.raises((QueryError, StorageError)) as caught:
        plot(frame_of([1, 2])).save(tmp_path / name)
    assert "\0" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_chinese_names_are_in_svg_and_html_as_they_are() -> None:
    frame = frame_of([1, 2, 3], symbol="貴州茅台")
    picture = plot({"貴州茅台": frame, "騰訊控股": frame_of([2, 3, 4], symbol="騰訊控股")})
    for text in (picture.svg(), picture.html()):
        assert "貴州茅台" in text and "騰訊控股" in text


def test_a_million_bars_and_one_are_a_picture_and_a_page_of_bounded_size() -> None:
    count = 1_000_000 if FULL else 150_000  # far more than there are columns
    many = plot(frame_of(np.full(count, 5e5), step="1m", symbol="BTCUSDT"))
    assert len(many.svg()) < 200_000 and len(many.html()) < 900_000
    for closes in ([1e-8], [5e5], [7.0] * 40):
        picture = plot(frame_of(closes, symbol="BTCUSDT"))
        count = len(closes)
        words = f"{count} bar{'s' if count > 1 else ''} given"
        assert words in picture.svg() and words in picture.html()


def test_a_notebook_shows_a_chart_as_svg() -> None:
    picture = plot(frame_of([1, 2]))
    assert picture._repr_html_() == picture.svg()
    assert repr(picture) == "<chart of ACME 1d: 2 bars, 0 gaps, 0 marks>"
    assert isinstance(picture, ChartPicture) and isinstance(picture.chart, Chart)
