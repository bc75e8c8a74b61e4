"""A PostgreSQL server that a test may stop, kill, copy, encrypt, and give a standby."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.core.net.authority import Authority
from tests.db.server import QUICK, made_folder, run

PASSWORD = "canary-word"


class OwnServer:
    """A server with its data in a folder of its own. Not thread-safe.

    Attributes:
        folder: Folder with the data, the socket and what tests put there.
        data: Folder of the data.
        port: Port; also in the name of the socket.
        listens: Whether it accepts encrypted connections at 127.0.0.1.
    """

    def __init__(self, folder: Path, programs: Path, data: str = "data", port: int = 5432) -> None:
        self.folder, self._programs, self.port = folder, programs, port
        self.data, self.listens, self.is_running = folder / data, False, False

    @property
    def url(self) -> str:
        """URL of the database of the tests, by the socket."""
        return f"postgresql://onetape@/postgres?host={self.folder}&port={self.port}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        if self.is_running:
            return
        tcp = "-c ssl=on" if self.listens else ""
        addresses = "127.0.0.1" if self.listens else ""
        options = f"-k {self.folder} -p {self.port} -c listen_addresses='{addresses}' {tcp} {QUICK}"
        log = str(self.folder / "log")
        self._ctl("start", "-w", "-l", log, "-o", f"{options} -c wal_sender_timeout=0")
        self.is_running = True

    def stop(self, mode: str = "fast") -> None:
        """Stop the server."""
        if self.is_running:
            self._ctl("stop", "-m", mode)
            self.is_running = False

    def kill(self) -> None:
        """Kill all processes of the server at once, even stopped ones."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        others = map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())
        processes = [first, *others]
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(map(_is_alive, processes)):
            pass
        # In a container nobody may collect what is dead, so the server would be taken for a running one.
        (self.data / "postmaster.pid").unlink()
        (self.folder / f".s.PGSQL.{self.port}.lock").unlink()
        self.is_running = False

    def reset(self) -> None:
        """Forget the settings that a test has made, without which a statement might wait forever."""
        settings = self.data / "postgresql.auto.conf"
        if settings.stat().st_size:
            settings.write_text("")
            if self.is_running:
                self._ctl("reload")

    def promote(self) -> None:
        """Make a standby the server."""
        self._ctl("promote", "-w")

    def copy(self, name: str) -> None:
        """Copy the data of the stopped server to a folder, or back from it."""
        self._copied(self.data, self.folder / name)

    def restore(self, name: str) -> None:
        """Replace the data of the stopped server by a copy."""
        self._copied(self.folder / name, self.data)

    def _copied(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        run(self.folder, "cp", "-a", str(source), str(target))

    def standby(self) -> OwnServer:
        """Return a standby that is started, in the same folder with a port of its own."""
        made = OwnServer(self.folder, self._programs, "standby", self.port + 1)
        shutil.rmtree(made.data, ignore_errors=True)
        program, host = str(self._programs / "pg_basebackup"), str(self.folder)
        place = ("-h", host, "-p", str(self.port), "-U", "onetape", "-D", str(made.data))
        run(self.folder, program, *place, "-R", "-X", "stream", "-c", "fast")
        made.start()
        return made

    def encrypt(self, authority: Authority) -> None:
        """Let the stopped server listen at 127.0.0.1, for encrypted connections with a password only."""
        authority.context()
        for name in ("server.crt", "server.key"):
            path = self.data / name
            path.write_bytes((authority.folder / "sound.pem").read_bytes())
            owner = self.data.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
            path.chmod(0o600)
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nlocal replication all trust\n"
            "hostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.listens = True

    def _ctl(self, *words: str) -> None:
        run(self.folder, str(self._programs / "pg_ctl"), words[0], "-D", str(self.data), *words[1:])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def own_server(authority: Authority) -> Iterator[OwnServer]:
    """Yield a server that listens on a socket, and with TLS for the user ``bot`` with ``PASSWORD``."""
    with made_folder() as (folder, programs):
        server = OwnServer(folder, programs)
        server.encrypt(authority)
        server.start()
        try:
            with psycopg.connect(server.url, autocommit=True) as db:
                db.execute(f"create role bot superuser login password '{PASSWORD}'")
            yield server
        finally:
            server.stop("immediate")
