"""Check whether a commit can be released: called by ``make release``, before and after ``make dist``.

``before`` refuses a tree with changes, and for ``--publish`` also a version that cannot be published yet.
``after`` installs the wheel as users do, each time into an environment of its own, and writes the list of
what is installed with it (SBOM). Its last line is what keeps the version from being published, if anything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path
from subprocess import DEVNULL

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

import pythons  # noqa: E402 - of this folder

# The place of the project's address, while it has none; no name below it can ever exist.
PLACEHOLDER = "placeholder.invalid"
FLOOR = "3.11"
# Extras for the tree, not for programs that use the library.
OF_THE_TREE = {"browser", "dev", "docs", "full", "release", "test"}
_VERSIONS = """
import numpy, onetape, pandas
assert 'site-packages' in onetape.__file__, onetape.__file__
print('numpy', numpy.__version__, 'and pandas', pandas.__version__)
"""
_IMPORTS = """
import sys
from importlib import import_module
from onetape.data.jobs.vendors.extras import EXTRAS, GROUPS
for name in filter(None, sys.argv[1:]):
    for part in GROUPS.get(name, (name,)):
        import_module(EXTRAS[part].module)
"""
_INSTALLED = """
import json
from importlib.metadata import distributions
print(json.dumps(sorted(
    [d.metadata["Name"], d.version, d.metadata["License-Expression"] or d.metadata["License"] or ""]
    for d in distributions()
)))
"""


class RefusedError(Exception):
    """This commit cannot be released; the message gives the reason."""


def main() -> int:
    """Return 0 if the step passed."""
    match sys.argv[1:]:
        case ["before", *options]:
            step, arguments = before, {"publish": "--publish" in options}
        case ["after"]:
            step, arguments = after, {}
        case _:
            raise SystemExit("usage: release.py before [--publish] | after")
    try:
        step(ROOT, **arguments)
    except RefusedError as exc:
        print(f"no release: {exc}", file=sys.stderr)
        return 1
    return 0


def before(tree: Path, *, publish: bool) -> None:
    """Check the tree, before anything is built.

    Raises:
        RefusedError: It is not a clone or has changes; or, if ``publish``, there are obstacles.
    """
    state = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tree, capture_output=True, text=True
    )
    if state.returncode != 0:
        raise RefusedError("this is not a git clone, so nobody could say which commit was built")
    if changed := [line[3:] for line in state.stdout.splitlines()]:
        listed = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise RefusedError(f"{len(changed)} files differ from the commit: {listed}")
    if publish and (found := obstacles(tree)):
        raise RefusedError("; ".join(found))


def obstacles(tree: Path) -> list[str]:
    """Return what keeps this version from being published, each as a sentence."""
    found, version = [], version_of(tree)
    if PLACEHOLDER in (tree / "setup.cfg").read_text("utf-8"):
        found.append(f"project_urls in setup.cfg is the placeholder {PLACEHOLDER}")
    changes = (tree / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.M):
        found.append(f"CHANGELOG.md has no date for {version}")
    tags = ["git", "tag", "--points-at", "HEAD"]
    named = subprocess.run(tags, cwd=tree, capture_output=True, text=True).stdout.split()
    if f"v{version}" not in named:
        found.append(f"the tag v{version} is not at this commit")
    return found


def version_of(tree: Path) -> str:
    """Return the version of a tree."""
    text = (tree / "src" / "data" / "_version.py").read_text("utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', text, re.M)
    return str(version)


def extras(tree: Path) -> list[str]:
    """Return the extras that users install."""
    setup = ConfigParser()
    setup.read(tree / "setup.cfg", encoding="utf-8")
    return [name for name in setup["options.extras_require"] if name not in OF_THE_TREE]


def after(tree: Path) -> None:
    """Check the wheel in ``dist``, and write the SBOM to ``build``.

    Raises:
        RefusedError: A check failed.
    """
    (wheel,) = (tree / "dist").glob("*.whl")
    print(f"tests of packaging with {wheel.name}", flush=True)
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/packaging"]
    # As a release: with the wheel that was built, and with all cases.
    environment = os.environ | {"ONETAPE_WHEEL": str(wheel), "ONETAPE_FULL": "1"}
    _passed("tests/packaging", subprocess.run(tests, cwd=tree, env=environment))
    (tree / "build").mkdir(exist_ok=True)
    try:
        floor = pythons.find(FLOOR, tree / "build" / f"python{FLOOR}")
    except pythons.NotToBeHadError as exc:
        raise RefusedError(f"the lowest versions need Python {FLOOR}: {exc}") from exc
    readme = _readme()
    with tempfile.TemporaryDirectory(dir=tree / "build") as scratch:
        place = Path(scratch)
        for name in ("", *extras(tree)):
            python = _installed(wheel, [name], place / (name or "bare"))
            _run(python, name or "no extra", place, [_IMPORTS, name])
        # The last one is `all`.
        bill = tree / "build" / f"{wheel.name.split('-py3')[0]}.cdx.json"
        bill.write_text(json.dumps(_bill(python, tree), indent=1) + "\n", "utf-8")
        for at, lowest in ((sys.executable, False), (str(floor), True)):
            python = _installed(wheel, readme[0], place / f"readme-{lowest}", at, lowest=lowest)
            title = "README's blocks" + (" on the lowest versions" if lowest else "")
            _run(python, title, place, [readme[1]])
        python = _installed(wheel, ["all"], place / "lowest", str(floor), lowest=True)
        _run(python, "all on the lowest versions", place, [_IMPORTS, "all"])
    print(f"{bill.relative_to(tree)}: {len(json.loads(bill.read_text())['components'])} packages")
    found = obstacles(tree)
    print(f"not to be published yet: {'; '.join(found)}" if found else "ready to be published")


def _readme() -> tuple[list[str], str]:
    """Return the extras that README's lines install, and its blocks as one program."""
    from tests.pages import pages

    text = (ROOT / "README.md").read_text("utf-8")
    named = ",".join(re.findall(r"pip install 'onetape\[([\w,]+)\]'", text))
    return named.split(","), "\n".join(block.code for block in pages()["README.md"])


def _installed(
    wheel: Path,
    names: Sequence[str],
    place: Path,
    python: str = sys.executable,
    *,
    lowest: bool = False,
) -> Path:
    """Install the wheel with extras into a new environment, and return its Python."""
    uv, named = pythons.uv(), ",".join(filter(None, names))
    _passed("uv venv", subprocess.run([uv, "venv", "-q", "--python", python, place]))
    own = place / "bin" / "python"
    command = [uv, "pip", "install", "-q", "--python", own]
    if lowest:
        # From the tree: uv reads what a wheel needs as needed indirectly, and takes the newest.
        pins = place / "lowest.txt"
        pin = [uv, "pip", "compile", "-q", "--resolution", "lowest-direct", "--python", own]
        chosen = [f"--extra={name}" for name in names if name]
        _passed(
            "lowest",
            subprocess.run([*pin, *chosen, ROOT / "setup.cfg", "-o", pins], stdout=DEVNULL),
        )
        command += ["-c", pins]
    command.append(f"onetape[{named}] @ {wheel.as_uri()}" if named else str(wheel))
    _passed(f"installing [{named}]", subprocess.run(command))
    return own


def _run(python: Path, title: str, place: Path, code: Sequence[str]) -> None:
    """Run a program in an empty folder, with no setting of this user."""
    home = Path(tempfile.mkdtemp(dir=place))
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [python, "-c", code[0] + _VERSIONS, *code[1:]],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    _passed(title, done)
    version = [python, "-m", "onetape", "--version"]
    _passed(
        title, subprocess.run(version, cwd=home, env=environment, capture_output=True, text=True)
    )
    print(f"{title}: works with {done.stdout.splitlines()[-1]}", flush=True)


def _passed(
    title: str, done: subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]
) -> None:
    if done.returncode != 0:
        raise RefusedError(f"{title} failed\n{done.stdout or ''}{done.stderr or ''}".strip())


def _bill(python: Path, tree: Path) -> dict[str, object]:
    """Return what is installed with the extra ``all``, in the form of CycloneDX."""
    done = subprocess.run([python, "-c", _INSTALLED], capture_output=True, text=True, check=True)
    found = [
        (re.sub(r"[-_.]+", "-", name).lower(), *rest) for name, *rest in json.loads(done.stdout)
    ]
    components = [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            # Older packages have the text of their licence there, instead of its name.
            "licenses": [{"license": {"name": licence}}] if 0 < len(licence) < 100 else [],
        }
        for name, version, licence in found
        if name != "onetape"
    ]
    own = {"type": "library", "name": "onetape", "version": version_of(tree)}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": own},
        "components": components,
    }


if __name__ == "__main__":
    raise SystemExit(main())
