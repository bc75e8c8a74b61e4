"""The packaged rules: printed unchanged, and not written if they contain mistakes."""

from __future__ import annotations

import pytest

from src.data.config.rules_file import AS_READ
from src.data.errors import RulesError
from src.data.jobs import package_rules


def test_the_printed_rules_equal_the_file_in_the_repository(
    capsys: pytest.CaptureFixture[str],
) -> None:
    package_rules.main()
    assert capsys.readouterr().out == AS_READ.read_text("utf-8"), "run `make docs`"


def test_rules_with_mistakes_are_not_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_rules, "packaged_bytes", lambda: b"crypto: {primary: nobody}")
    with pytest.raises(RulesError, match="nobody"):
        package_rules.main()
    assert capsys.readouterr().out == ""
