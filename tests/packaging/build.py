"""Builds the distribution from a copy of the tree, and runs Python as its user would."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from venv import EnvBuilder

from tests.contract.source import ROOT
from tests.core.cache.counts import FULL
from tests.processes import ended, fork

PACKED = (
    ".ci", ".github", ".gitignore", "AGENTS.md", "benchmarks",
    "CHANGELOG.md", "config", "CONTRIBUTING.md", "data-cache",
    "docs", "examples", "LICENSE", "Makefile", "MANIFEST.in", "mkdocs.yml", "onetape", "pyproject.toml",
    "README.md", "ruff.toml", "SECURITY.md", "setup.cfg", "setup.py", "src", "tests",
)  # fmt: skip


def copy_tree(target: Path) -> Path:
    """Copy what a build reads: building in place would leave `build/` behind and share it."""
    target.mkdir(parents=True)
    # Of the tests two packages stand for all, unless all is asked for.
    tests = () if FULL else ("tests/core/disk", "tests/packaging")
    for name in (*(one for one in PACKED if not tests or one != "tests"), *tests):
        source = ROOT / name
        if source.is_dir():
            left = ("__pycache__", "ohlcv")  # bars that were cached in the checkout
            shutil.copytree(
                source, target / name, symlinks=True, ignore=shutil.ignore_patterns(*left)
            )
        elif source.exists():
            shutil.copy2(source, target / name)
    return target


def build(tree: Path, out: Path) -> Path:
    """Build the sdist, then the wheel from that sdist, as `make dist` does, and return the wheel."""
    module = dist()
    if not FULL:
        module._run_build = _run_hook
        module.gzip = SimpleNamespace(compress=_compressed_a_little)
    archive, wheel = module.build(tree, out)
    assert archive.parent == wheel.parent == out
    return wheel


def _compressed_a_little(data: bytes, _: int, *, mtime: int) -> bytes:
    """Compress quickly: compressing as well as possible took a third of the time of the tests."""
    return gzip.compress(data, 1, mtime=mtime)


def _run_hook(what: str, tree: Path, out: Path, epoch: int) -> None:
    """Call what `build` calls in the end, in a child; in a full run `build` itself is run."""
    out.mkdir(parents=True, exist_ok=True)
    log = out.with_name(f"{out.name}.log")

    def hook() -> None:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(tree)
        os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
        compressed = zlib.compressobj
        zlib.compressobj = lambda _, *others: compressed(1, *others)  # a little, as above
        hooks = import_module("setuptools.build_meta")  # here: it changes the importer
        getattr(hooks, {"--sdist": "build_sdist", "--wheel": "build_wheel"}[what])(str(out))

    assert ended(fork(hook)) == 0, log.read_text()


def dist() -> Any:
    """Return the module that `make dist` runs."""
    return script("dist")


def script(name: str) -> Any:
    """Return a new module of the folder `.ci`."""
    spec = spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


def build_editable(tree: Path, out: Path) -> Path:
    """Build what an editable installation puts into `site-packages` and return that wheel."""
    out.mkdir()
    script = f"from setuptools.build_meta import build_editable as b; b({str(out)!r})"
    run(["-W", "ignore", "-c", script], cwd=tree)
    (wheel,) = out.glob("*.whl")
    return wheel


def unpack(wheel: Path, target: Path) -> Path:
    """Install a pure wheel the way `pip install --no-deps --target` does."""
    with zipfile.ZipFile(wheel) as archive:
        assert not [n for n in archive.namelist() if ".data/" in n], "not a plain wheel"
        archive.extractall(target)
    return target


def environment_with(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """Install a wheel into an environment of its own; return its Python and its ``site-packages``.

    The dependencies are those of this environment, whose own path lines are not read there.
    """
    EnvBuilder(symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python3*/site-packages")
    libraries = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(libraries)), "utf-8")
    return folder / "bin" / "python", unpack(wheel, packages)


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    path: Sequence[Path] = (),
    check: bool = True,
    python: Path = Path(sys.executable),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run a Python, by default this one, in ``cwd`` with ``path`` in front."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, path)))
    environment |= {"DATA_CACHE_DIR": str(cwd / "bars"), "ONETAPE_STATE_DIR": str(cwd / "state")}
    environment |= variables
    result = subprocess.run(
        [str(python), *arguments], cwd=cwd, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if check:
        assert result.returncode == 0, result.stdout + result.stderr
    return result


def as_user(
    code: Sequence[str], *, cwd: Path, installed: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run with ``installed`` and the dependencies on the path, and nothing of this repository.

    ``-S`` keeps the path lines of this environment out (an editable installation is one); the
    ones in ``installed`` are processed, as ``site-packages`` would be.
    """
    lines = [p.read_text("utf-8").split() for p in installed.glob("*.pth")]
    paths = [installed, *(Path(line) for found in lines for line in found)]
    libraries = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    return run(["-S", *code], cwd=cwd, path=[*paths, *libraries], check=check)
