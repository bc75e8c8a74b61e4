"""One stage for all tests of a module: its processes load the library once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from src.data.prove.stage import Stage, staged

CLOSED = "http://127.0.0.1:9"


class Set(NamedTuple):
    """A stage in an environment that would spoil every proof, if a proof looked at it."""

    stage: Stage
    home: Path


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    home = tmp_path_factory.mktemp("home")
    (home / "rules.yaml").write_text("crypto: {primary: nobody}\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            patch.setenv(name, CLOSED)
        for name in (
            "HOME",
            "XDG_CACHE_HOME",
            "XDG_STATE_HOME",
            "DATA_CACHE_DIR",
            "ONETAPE_STATE_DIR",
        ):
            patch.setenv(name, str(home))
        patch.setenv("ONETAPE_RULES", str(home / "rules.yaml"))
        patch.setenv("ONETAPE_RECORD", str(home / "record"))
        patch.setenv("CACHE_MAX_SIZE_GB", "0.000001")
        patch.setenv("PROVIDER_RATE_LIMITS", '{"binance": {"requests_per_minute": 1}}')
        patch.setenv("TIINGO_API_KEY", "secret")
        with staged("") as stage:
            yield Set(stage, home)
        assert not stage.folder.exists()
