"""What the page on asking for bars shows can be asked for."""

from __future__ import annotations

import re
import warnings

import pytest

import src.data.data_manager
import src.data.model.interchange
from src.data.data_manager import DataManager
from tests.contract.source import ROOT

PAGE = (ROOT / "docs" / "bars.md").read_text("utf-8")


def test_every_line_of_the_page_runs(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(src.data.data_manager, "get_data_manager", lambda: manager)
    monkeypatch.setattr(src.data.model.interchange, "to_polars", lambda many: many)  # of an extra
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, namespace)
    shown = capsys.readouterr().out
    assert "BTCUSDT 1m" in shown and "AAPL 1d" in shown
