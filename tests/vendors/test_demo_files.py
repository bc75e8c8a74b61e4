from __future__ import annotations

import sys

import pytest

from src.data.errors import MissingExtraError
from src.data.model.http import HttpRequest
from src.data.vendors.local.carrier import DemoFilesCarrier


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh_sampledata.stocks", None)
    with pytest.raises(MissingExtraError, match=r'pip install "onetape\[demo\]"'):
        DemoFilesCarrier().send(HttpRequest("file:///AAPL"))


def test_a_table_is_csv_text() -> None:
    pytest.importorskip("bokeh_sampledata")
    lines = DemoFilesCarrier().send(HttpRequest("file:///aapl")).text.splitlines()
    assert lines[0] == "date,open,high,low,close,volume,adj_close"
    assert lines[1].startswith("2000-03-01,118.56,132.06,118.5,130.31,")
    assert DemoFilesCarrier().send(HttpRequest("file:///TSLA")).status == 404
