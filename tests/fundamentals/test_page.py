"""The page's example of three vendors prints what stands below it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.source import ROOT
from tests.fundamentals import test_three_vendors as example

record = example.record


def test_the_example_prints_what_stands_below_it(
    record: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        (ROOT / "docs" / "fundamentals.md")
        .read_text("utf-8")
        .split("One company, three vendors")[1]
    )
    code, printed = re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)[:2]
    exec(code, {"company": record})
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [" ".join(line.split()) for line in printed.splitlines()]
