"""What the workflows run is what everybody runs: targets of `make`, on the versions that are supported."""

from __future__ import annotations

import re
from configparser import ConfigParser
from typing import Any

import pytest
import yaml

from src.data.core import registry
from src.data.core.registry import VENDORS, VendorRow
from tests.contract import live_keys
from tests.contract.source import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.glob("*.yml")}
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


def commands(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step]


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_each_step_is_a_target_of_make_and_may_only_read(name: str) -> None:
    targets = {re.fullmatch(r"make ([a-z-]+)( [A-Z]+=[\w.]+)*", text) for text in commands(name)}
    assert targets and None not in targets
    assert all(re.search(rf"^{found[1]}:", MAKEFILE, re.M) for found in targets if found)
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}


def test_each_supported_version_is_tested_and_the_lowest_packages_on_the_lowest() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    versions = re.findall(r"Python :: (3\.\d+)$", setup["metadata"]["classifiers"], re.M)
    jobs = WORKFLOWS["tests.yml"]["jobs"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == versions
    assert setup["options"]["python_requires"] == f">={versions[0]}"
    assert f"make py VERSION={versions[0]} LOWEST=1" in commands("tests.yml")
    macos = [name for name, job in jobs.items() if "macos" in job["runs-on"]]
    assert macos and all("never-run-by-us" in name for name in macos)


def test_a_tag_is_published_only_by_what_refuses_the_placeholder() -> None:
    assert commands("release.yml") == ["make release PUBLISH=1 PYTHON=python"]
    jobs = WORKFLOWS["release.yml"]["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (FOLDER / "release.yml").read_text("utf-8")


def live_environment() -> dict[str, str]:
    (found,) = (step["env"] for step in steps("live.yml") if "env" in step)
    return dict(found)


def test_the_keys_of_real_vendors_come_from_secrets_and_go_to_one_step() -> None:
    assert all(text == f"${{{{ secrets.{name} }}}}" for name, text in live_environment().items())
    assert {"FMP_API_KEY", "EODHD_API_KEY"} < set(live_environment())
    assert not live_keys.NOT_NEEDED & set(live_environment())
    text = live_keys.PATH.read_text("utf-8")
    assert text == live_keys.replaced(text), "run `make lists`"


def test_the_key_of_a_new_vendor_is_written_by_make_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**VENDORS, "acme": VendorRow(bars="acme.bars:Acme", keys=("ACME_API_KEY",))}
    monkeypatch.setattr(registry, "VENDORS", rows)
    monkeypatch.setattr(live_keys, "SERVED", [*live_keys.SERVED, "acme"])
    written = yaml.safe_load(live_keys.replaced(live_keys.PATH.read_text("utf-8")))
    (env,) = (step["env"] for step in written["jobs"]["live"]["steps"] if "env" in step)
    assert set(env) == {*live_environment(), "ACME_API_KEY"}


def test_continuous_integration_runs_what_everybody_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert [line for line in lines if "make" in line] == ["exec make test"]
