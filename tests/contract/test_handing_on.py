"""The page that hands bars to other libraries: each block runs where its library is installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import src.data

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "handing-on.md").read_text("utf-8")
# A block of Python, and what it prints, if that is shown.
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", re.DOTALL)
SECTIONS = {part.split("\n", 1)[0]: BLOCK.findall(part) for part in PAGE.split("\n## ")[1:]}
# What each section imports; the bars come from the sample.
NEEDS = {
    "Polars": ["polars"],
    "Arrow and Parquet": ["pyarrow"],
    "DuckDB": ["duckdb", "pyarrow"],
    "vectorbt": ["vectorbt"],
    "backtesting.py": ["backtesting"],
    "mplfinance": ["mplfinance"],
    "Zipline": ["zipline"],
    "NautilusTrader": ["nautilus_trader"],
    "Backtrader": ["backtrader"],
}


def test_every_section_with_code_is_run() -> None:
    assert [name for name, blocks in SECTIONS.items() if blocks] == list(NEEDS)
    assert len(BLOCK.findall(PAGE)) == PAGE.count("```python") == len(NEEDS) + 1


@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize("section", NEEDS)
def test_a_section_prints_what_stands_below(
    section: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for library in ["bokeh_sampledata", *NEEDS[section]]:
        pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_CACHE_DIR", "ONETAPE_STATE_DIR", "ZIPLINE_ROOT", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # Classes that the blocks make look for a module of theirs.
    names = {"__name__": "__main__"}
    monkeypatch.setitem(sys.modules, "__main__", sys.modules[__name__])
    src.data.reset_data_manager()
    try:
        for code, _ in [*BLOCK.findall(PAGE)[:1], *SECTIONS[section]]:
            exec(compile(code, f"handing-on.md, {section}", "exec"), names)
    finally:
        src.data.reset_data_manager()
    printed = [shown for _, shown in [*BLOCK.findall(PAGE)[:1], *SECTIONS[section]]]
    assert capsys.readouterr().out.split() == "".join(printed).split()
