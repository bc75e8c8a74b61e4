"""Draw the pictures of README and the pages, each as an SVG without fonts of elsewhere.

Run by ``make pictures``. All are drawn from the sample bars of the extra ``demo``, or from bars that are
made, so a picture changes only where the code does; what ``onetape demo`` prints has measured times in it
besides.
"""

from __future__ import annotations

import html
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
COMMAND = [sys.executable, "-m", "onetape", "demo", "--offline"]


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
    from onetape.data.data_manager import DataManager

    with tempfile.TemporaryDirectory(prefix="onetape-pictures-") as folder:
        manager = DataManager(Path(folder))
        picture = manager.plot("AAPL", "1d", "2012-01-03", "2012-12-31", provider="demo")
        return picture.svg() + "\n"


def report() -> str:
    """Return the beginning of the report of a series, with the styles of its page."""
    from onetape.data.data_manager import DataManager

    with (
        tempfile.TemporaryDirectory(prefix="onetape-pictures-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)  # no vendor is queried for actions
        manager = DataManager(Path(folder))
        manager.get_ohlcv("AAPL", "1d", "2010-01-04", "2012-12-31", provider="demo")
        page = manager.report("AAPL", "1d").html()
        chart = manager.plot("AAPL", "1d", "2010-01-04", "2012-12-31", provider="demo")
    style, main = page.split("<style>")[1].split("</style>")[0], page.partition("<main>")[2]
    # Up to the chart, which a script draws on the page: a picture stands for it.
    return _page(style, main.partition('<div class="figure"')[0] + chart.svg(1000, 480), 840)


def _page(style: str, main: str, height: int) -> str:
    """Return the beginning of a page as a picture."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1100 {height}">'
        f'<foreignObject width="1100" height="{height}">'
        f'<body xmlns="http://www.w3.org/1999/xhtml"><style>{html.escape(style, quote=False)}</style>'
        f"<main>{main}</main></body></foreignObject></svg>\n"
    )


def board() -> str:
    """Return the first page of ``onetape serve`` on sample bars, of which three are left out."""
    from onetape.data.core.clock import ManualClock
    from onetape.data.data_manager import DataManager
    from onetape.data.jobs.run.nights import record_night
    from onetape.data.server import first_page as boards
    from onetape.data.server.pages import asset, board_page

    boards._PATIENCE_S = None  # all results are awaited
    clock, days = ManualClock(1_356_436_800_000), ("2012-01-03", "2012-12-28")  # 2012-12-25 12:00
    good = {"vendors": ["yahoo"], "wrong": "", "failed_at": ""}
    failed = {"vendors": [], "score": None, "error": "down", "wrong": "", "failed_at": "yahoo"}
    why = [{"failed": True, "why": "yahoo: HTTP 503", "series": ["GOOG 1d"]}]
    with (
        tempfile.TemporaryDirectory(prefix="onetape-pictures-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)
        samples = DataManager(Path(folder) / "samples")
        manager = DataManager(Path(folder) / "cache", clock=clock)
        for night in range(6):
            begun_ms, is_bad = clock.now_ms(), night == 2
            results = [good | {"score": 0.99 - night % 3 / 50}] * 2
            results.append(failed if is_bad else good | {"score": 1.0})
            report = {"results": results, "reasons": why if is_bad else []}
            clock.advance(86_400)
            if night != 4:
                record_night(manager._services, "sync", report, begun_ms)
        for symbol in ("AAPL", "GOOG", "IBM"):
            bars = samples.get_ohlcv(symbol, "1d", *days, provider="demo", adjustment="raw")
            bars = bars.drop(bars.index[100:103]) if symbol == "IBM" else bars
            manager.cache.put(bars, symbol, "1d", *days, provider="yahoo")
        style, _ = asset("page.css") or ("", "")
        page = board_page(boards.Board(manager).to_json())
    # Up to the vendors, which depend on what is installed.
    main = page.partition("<main>")[2].partition("<h2>Vendors</h2>")[0]
    return _page(style, main.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '), 1000)


def survivorship() -> str:
    """Return the members of then beside today's, of the made-up market of the example."""
    import pandas as pd

    from examples.survivorship import FIRST, make_market, panel, value
    from onetape import plot

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


def message() -> str:
    """Return what the example of a bot answers to a chart of sample bars, as a chat shows it."""
    from onetape.data.data_manager import DataManager

    sys.path.insert(0, str(FOLDER.parents[1] / "examples" / "telegram_bot"))
    from bot import Bot

    with tempfile.TemporaryDirectory(prefix="onetape-pictures-") as folder:
        manager = DataManager(Path(folder))

        class Sample:
            """Has the sample bars of half a year, whatever number of bars is asked for."""

            def plot(self, *names: str, **_: object) -> object:
                return manager.plot(*names, "2012-07-02", "2012-12-31", provider="demo")

        text, _ = Bot(None, Sample(), frozenset()).chart(1, "AAPL", "1d")
        chart = manager.plot("AAPL", "1d", "2012-07-02", "2012-12-31", provider="demo").svg()
    lines = ["/chart AAPL 1d", *text.splitlines()]
    height = 560 + 26 * len(lines)
    texts = [
        f'<text x="{470 if place == 0 else 40}" y="{36 if place == 0 else 550 + 26 * place}">'
        f"{html.escape(line)}</text>"
        for place, line in enumerate(lines)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" font-size="17" '
        'font-family="DejaVu Sans, Helvetica, sans-serif" fill="#1c1e21">'
        f'<rect width="860" height="{height}" fill="#c9d8e6"/>'
        '<rect x="450" y="10" width="390" height="40" rx="14" fill="#e3f9d2"/>'
        f'<rect x="20" y="60" width="820" height="{height - 80}" rx="14" fill="#ffffff"/>'
        + chart.replace("<svg ", '<svg x="30" y="66" ', 1)
        + "".join(texts)
        + "</svg>\n"
    )


# A picture that is light or dark as the reader's system is.
_STYLE = """rect{fill:#fff}text{fill:#333}.g{stroke:#ddd}polyline{fill:none;stroke-width:1.8}
polyline.p{stroke:#c2410c}polyline.o{stroke:#1d4ed8}text.p{fill:#c2410c}text.o{fill:#1d4ed8}
@media(prefers-color-scheme:dark){rect{fill:#16181c}text{fill:#ccc}.g{stroke:#333}
polyline.p{stroke:#fb923c}polyline.o{stroke:#60a5fa}text.p{fill:#fb923c}text.o{fill:#60a5fa}}"""


def crash() -> str:
    """Return the deviation of prices that lose eight orders of magnitude, by pandas and by onetape."""
    import numpy as np
    import pandas as pd

    from onetape.data.features.rolling import deviations

    first, days = 150, 300
    closes = 80 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.03, first + days)))
    for day in range(8):
        closes[200 + day :] /= 10
    lines = {"p": pd.Series(closes).rolling(20).std().to_numpy(), "o": deviations(closes, 20)}
    width, height, left = 390, 250, 40

    def y(power: float) -> float:
        """Return the height of a power of ten."""
        return round(34 + (2 - power) / 11 * (height - 60), 1)

    parts = [
        f'<path class="g" d="M{left},{y(power)}H{width - 8}"/>'
        f'<text x="4" y="{y(power) + 4:.1f}">1e{power}</text>'
        for power in range(-8, 3, 2)
    ]
    for name, values in lines.items():
        points = [
            f"{left + day * (width - left - 8) / days:.1f},{y(float(power))}"
            for day, power in enumerate(np.log10(values[first:]))
        ]
        parts.append(f'<polyline class="{name}" points="{" ".join(points)}"/>')
    labels = (
        (left, 20, "", "rolling(20).std() after a fall by 1e8"), (left, height - 8, "", "day 0"),
        (width - 60, height - 8, "", f"day {days}"), (282, 20, "p", "pandas"), (332, 20, "o", "onetape"),
    )  # fmt: skip
    parts += [
        f'<text x="{x}" y="{at}" class="{name}">{text}</text>' for x, at, name, text in labels
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="DejaVu Sans, Helvetica, sans-serif" font-size="12">'
        f"<style>{_STYLE}</style>"
        f'<rect width="{width}" height="{height}"/>{"".join(parts)}</svg>\n'
    )


def lines(
    title: str,
    series: dict[str, list[tuple[float, float]]],
    labels: tuple[str, str],
    notes: dict[str, str],
    marks: dict[float, str],
) -> str:
    """Return a small chart of a few steps or points.

    Args:
        title: Text above the chart.
        series: Maps the class of each line (``p`` or ``o``) to its points, by x from 0 to 1.
        labels: Texts below the left and the right edge.
        notes: Maps the class of each line to its name.
        marks: Maps positions of vertical lines, from 0 to 1, to their texts.
    """
    width, height, left = 390, 250, 58
    values = [value for points in series.values() for _, value in points]
    low, high = min(values), max(values)

    def x(part: float) -> float:
        """Return a position across the chart."""
        return round(left + part * (width - left - 12), 1)

    def y(value: float) -> float:
        """Return the height of a value."""
        return round(height - 70 - (value - low) / (high - low) * (height - 134), 1)

    parts = [
        f'<path class="g" d="M{left},{y(value)}H{width - 8}"/>'
        f'<text x="4" y="{y(value) + 4:.1f}">{value:.6g}</text>'
        for value in (low, high)
    ]
    for number, (part, text) in enumerate(marks.items()):
        anchor = "end" if part > 0.6 else "start"
        parts.append(
            f'<path class="g" d="M{x(part)},56V{height - 28}"/>'
            f'<text x="{x(part) + (-4 if part > 0.6 else 4)}" y="{height - 50 + 15 * number}" '
            f'text-anchor="{anchor}">{text}</text>'
        )
    for name, points in series.items():
        drawn = " ".join(f"{x(part)},{y(value)}" for part, value in points)
        parts.append(f'<polyline class="{name}" points="{drawn}"/>')
    parts += [f'<text x="8" y="20">{title}</text>']
    parts += [
        f'<text x="{8 + 190 * number}" y="40" class="{name}">{text}</text>'
        for number, (name, text) in enumerate(notes.items())
    ]
    parts += [
        f'<text x="{left}" y="{height - 8}">{labels[0]}</text>',
        f'<text x="{width - 8}" y="{height - 8}" text-anchor="end">{labels[1]}</text>',
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="DejaVu Sans, Helvetica, sans-serif" font-size="12">'
        f"<style>{_STYLE}</style>"
        f'<rect width="{width}" height="{height}"/>{"".join(parts)}</svg>\n'
    )


def _steps(changes: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of a line that keeps each value until the next change."""
    corners = changes[:1]
    for part, value in changes[1:]:
        corners += [(part, corners[-1][1]), (part, value)]
    return [*corners, (1.0, corners[-1][1])]


def split() -> str:
    """Return closes around a split as today's, and as of the day before it, with a late report."""
    import numpy as np

    closes = 125 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.012, 60)))
    now = [(day / 59, round(float(close), 2)) for day, close in enumerate(closes)]
    then = [(part, round(4 * value, 2)) for part, value in now[:40]]
    return lines(
        "closes around a split of 4 for 1",
        {"p": now, "o": then},
        ("day 0", "day 59"),
        {"p": "asked today", "o": "asked at(day 39)"},
        {39 / 59: "day 39; the split is on day 40", 50 / 59: "report filed on day 50: withheld"},
    )


def vintages() -> str:
    """Return the value of one month of a price index on each day, as it was published and revised."""
    return lines(
        "US CPI (CPIAUCSL) for January 2024, by as_of",
        {"p": [(0.0, 309.698), (1.0, 309.698)], "o": _steps([(0.09, 309.685), (0.82, 309.698)])},
        ("2024-01", "2025-04"),
        {"p": "without as_of", "o": "with as_of"},
        {0.09: "published 2024-02-13", 0.82: "revised 2025-02-12"},
    )


def timeframes() -> str:
    """Return the closes of hours, and the change of the day that was known at each."""
    import numpy as np

    closes = 100 + np.cumsum(np.random.default_rng(5).normal(0, 0.4, 72))
    hours = [(hour / 71, round(float(close), 2)) for hour, close in enumerate(closes)]
    closed = [(hour / 71, hours[hour - 1][1]) for hour in (24, 48)]
    return lines(
        "a value @1d in a frame of hours",
        {"p": hours, "o": _steps(closed)},
        ("00:00", "three days later"),
        {"p": "close of 1h", "o": "close of the last 1d bar"},
        {24 / 71: "day 1 closes", 48 / 71: "day 2 closes"},
    )


def futures() -> str:
    """Return a year of four made-up contracts, joined, with their prices as traded and the rolls."""
    import numpy as np
    import pandas as pd

    from onetape import plot
    from onetape.futures import stitch

    days = pd.date_range("2024-01-02", "2024-12-20", freq="B")
    rng = np.random.default_rng(3)
    spot = 5000 + np.cumsum(rng.normal(2, 22, len(days)))
    volume = rng.uniform(1e6, 2e6, len(days) - 1)
    frames = {}
    for number, name in enumerate(("H24", "M24", "U24", "Z24")):
        close = spot + 45 * (number + 1)  # further contracts cost more
        frame = pd.DataFrame(
            {"open": np.roll(close, 1), "high": close + 14, "low": close - 14, "close": close}, days
        )
        frame["high"] = frame[["open", "close", "high"]].max(axis=1)
        frame["low"] = frame[["open", "close", "low"]].min(axis=1)
        frames[name] = frame.iloc[1:].assign(volume=volume)
    rolls = [
        ("2024-03-14", "H24", "M24"),
        ("2024-06-13", "M24", "U24"),
        ("2024-09-12", "U24", "Z24"),
    ]
    series = stitch(frames, rolls)
    marks = [
        {"time": at, "text": f"{old} to {new}, offset {series['offset'].loc[:at].iloc[-2]:+g}"}
        for at, old, new in rolls
    ]
    traded = {"as traded": series["close"] - series["offset"]}
    return plot({"H24 to Z24": series}, lines=traded, marks=marks).svg(600, 420) + "\n"


def answer() -> str:
    """Return one answer with its provenance: bars of two vendors, and one that is missing."""
    from onetape import describe
    from onetape.data.core.clock import ManualClock
    from onetape.data.data_manager import DataManager

    clock, days = ManualClock(1_356_436_800_000), ("2012-01-03", "2012-01-11")
    with (
        tempfile.TemporaryDirectory(prefix="onetape-pictures-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)
        samples = DataManager(Path(folder) / "samples")
        bars = samples.get_ohlcv("IBM", "1d", *days, provider="demo", adjustment="raw")
        manager = DataManager(Path(folder) / "cache", clock=clock)
        manager.cache.put(bars.iloc[:4], "IBM", "1d", days[0], "2012-01-06", provider="yahoo")
        manager.cache.put(bars.iloc[5:], "IBM", "1d", "2012-01-09", days[1], provider="fmp")
        columns = ("source", "state")
        frame = manager.get_ohlcv("IBM", "1d", *days, offline=True, columns=columns)
        facts = [line.split(maxsplit=1) for line in str(describe(frame)).splitlines()]
    rows = [
        (f"{day:%Y-%m-%d}", f"{row.close:.2f}", row.source, row.state)
        for day, row in frame.iterrows()
    ]
    lacking = sorted({f"{day:%Y-%m-%d}" for day in bars.index} - {row[0] for row in rows})
    rows = sorted([*rows, *((day, "missing", "-", "not supplied") for day in lacking)])
    left, parts = (12, 150, 178, 262), []
    for number, row in enumerate([("IBM 1d", "close", "vendor", "state"), *rows]):
        y = 24 + 22 * number
        kind = "g" if number == 0 else "m" if row[1] == "missing" else row[2]
        parts.append(f'<rect class="{kind}" x="4" y="{y - 15}" width="382" height="20"/>')
        parts += [
            f'<text x="{x}" y="{y}" text-anchor="{"end" if x == left[1] else "start"}">{cell}</text>'
            for x, cell in zip(left, row, strict=True)
        ]
    told = {name: text for name, text in facts if name in ("series", "complete", "bars")}
    prices = told["series"].rpartition(", ")[2].removesuffix(" prices")
    lines = [("complete", told["complete"]), ("prices adjusted for", f"{prices}s")]
    lines += [("hash of the bars", f"{told['bars'][:19]}...")]
    height = 24 + 22 * (len(rows) + 1) + 18 * len(lines)
    parts += [
        f'<text x="12" y="{height - 18 * (len(lines) - number) + 6}">{name}: {text}</text>'
        for number, (name, text) in enumerate(lines)
    ]
    colours = {"yahoo": "#d8e8fb", "fmp": "#dcf2dc", "m": "#fbd9d9", "g": "#eceff3", "w": "#fff"}
    style = "".join(f".{name}{{fill:{colour}}}" for name, colour in colours.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 390 {height}" role="img" '
        'font-family="DejaVu Sans, Helvetica, sans-serif" font-size="13" fill="#1b2430">'
        f'<style>{style}</style><rect class="w" width="390" height="{height}"/>{"".join(parts)}</svg>\n'
    )


PICTURES: dict[str, Callable[[], str]] = {
    "answer.svg": answer,
    "demo.svg": terminal,
    "chart.svg": chart,
    "report.svg": report,
    "board.svg": board,
    "survivorship.svg": survivorship,
    "crash.svg": crash,
    "split.svg": split,
    "vintages.svg": vintages,
    "timeframes.svg": timeframes,
    "telegram.svg": message,
    "futures.svg": futures,
}


if __name__ == "__main__":
    main()
