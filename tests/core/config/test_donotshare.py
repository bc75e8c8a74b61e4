from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.config import donotshare
from src.data.core.config.credentials import credentials_for
from src.data.core.config.donotshare import private_setting

KEY = "k1234567"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Return a function that writes the file into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    _forget()

    def _write(text: str | bytes) -> None:
        path = tmp_path / "config" / "donotshare" / "donotshare.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    yield _write
    _forget()


def _forget() -> None:
    donotshare.private_path.cache_clear()


def test_a_key_in_the_environment_wins_over_the_private_file(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    write("FMP_API_KEY = 'from the file'")
    credentials = credentials_for(["FMP_API_KEY"])
    assert credentials["FMP_API_KEY"] == "from the file"
    monkeypatch.setenv("FMP_API_KEY", KEY)
    assert credentials["FMP_API_KEY"] == KEY


def test_an_environment_that_is_handed_in_is_the_only_place(write) -> None:  # type: ignore[no-untyped-def]
    write("FMP_API_KEY = 'from the file'")
    assert "FMP_API_KEY" not in credentials_for(["FMP_API_KEY"], {})


@pytest.mark.parametrize(
    "line, expected",
    [
        ("FMP_API_KEY = 'a'", "a"),
        ("FMP_API_KEY: str = 'a'", "a"),
        ("OTHER = FMP_API_KEY = 'a'", "a"),
        ("FMP_API_KEY = 12", "12"),
        ("FMP_API_KEY = None", ""),
        ("FMP_API_KEY = 'a'\nFMP_API_KEY = 'b'", "b"),
        ("import os\nFMP_API_KEY = os.getenv('MINE')", "of mine"),
        ("FMP_API_KEY = os.getenv('MINE', 'x')", "of mine"),
        ("FMP_API_KEY = os.getenv('ABSENT', 'x')", "x"),
        ("FMP_API_KEY = os.getenv('ABSENT')", ""),
        ("FMP_API_KEY = os.environ['MINE']", "of mine"),
        ("FMP_API_KEY = os.environ['ABSENT']", ""),
        ("FMP_API_KEY = os.environ.get('ABSENT', 'x')", "x"),
        ("from os import getenv\nFMP_API_KEY = getenv('MINE')", "of mine"),
    ],
)
def test_literals_and_variables_are_read(  # type: ignore[no-untyped-def]
    write,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    line: str,
    expected: str,
) -> None:
    monkeypatch.setenv("MINE", "of mine")
    write(line)
    assert private_setting("FMP_API_KEY") == expected
    assert caplog.records == []


def test_a_variable_is_looked_up_each_time(write, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    write("FMP_API_KEY = os.getenv('MINE')")
    monkeypatch.setenv("MINE", "old")
    assert private_setting("FMP_API_KEY") == "old"
    monkeypatch.setenv("MINE", "new")
    assert private_setting("FMP_API_KEY") == "new"


@pytest.mark.parametrize(
    "value",
    [
        "open('mark', 'w') and 'a'",
        "f'{1}'",
        "'a' + 'b'",
        "os.getenv(NAME)",
        "os.getenv('A', open('mark', 'w'))",
        "os.getenv(key='A')",
        "os.environ[NAME]",
        "os.system('touch mark')",
        "shutil.os.getenv('A')",
        "[]",
    ],
)
def test_a_value_that_is_not_a_literal_is_ignored_and_reported_once(  # type: ignore[no-untyped-def]
    write, tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    write(f"import os\n\nFMP_API_KEY = {value}\nTIINGO_API_KEY = 't'")
    assert private_setting("FMP_API_KEY") == private_setting("FMP_API_KEY") == ""
    assert private_setting("TIINGO_API_KEY") == "t"
    assert [r.getMessage().count("line 3: FMP_API_KEY is ignored") for r in caplog.records] == [1]
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "text", ["raise SystemExit(3)", "import nonsense_module", "exit()", "1 / 0"]
)
def test_code_in_the_private_file_is_not_executed(write, text: str) -> None:  # type: ignore[no-untyped-def]
    write(f"{text}\nFMP_API_KEY = 'a'")
    assert private_setting("FMP_API_KEY") == "a"


def test_a_package_of_the_users_own_is_not_imported(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write("FMP_API_KEY = 'a'")
    (tmp_path / "config" / "__init__.py").write_text("raise SystemExit('never')")
    (tmp_path / "config.py").write_text("raise SystemExit('never')")
    assert private_setting("FMP_API_KEY") == "a"


@pytest.mark.parametrize(
    "data", [b"FMP_API_KEY = (", b"\xff\xfe", b"\x00", b"(" * 100_000, b"#" * (1 << 21)]
)
def test_a_broken_file_is_told_and_holds_nothing(  # type: ignore[no-untyped-def]
    write, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    write(data)
    assert private_setting("FMP_API_KEY") == private_setting("TIINGO_API_KEY") == ""
    assert [r.getMessage().count("was not read") for r in caplog.records] == [1]


def test_without_a_private_file_settings_are_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    _forget()
    assert private_setting("FMP_API_KEY") == ""
    _forget()
    (tmp_path / "config" / "donotshare" / "donotshare.py").mkdir(parents=True)
    assert private_setting("FMP_API_KEY") == ""
    assert caplog.records == []
