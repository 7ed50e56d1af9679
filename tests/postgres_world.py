"""A real PostgreSQL server for tests, started from the system's binaries on a socket of its own."""

import atexit
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

MISSING = "no PostgreSQL server on this machine: apt-get install postgresql"


class Server:
    """A server that only this machine's tests can reach; its files are in a folder of its own, removed at the end.

    It waits for no disk: a test may kill the server, but not the machine.
    """

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        self._sync = "" if durable else " -c fsync=off"
        self._binaries = binaries
        self._user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="quorate-pg-", dir="/tmp"))  # A socket's path must be short.
        self._made = 0
        if self._user is not None:
            os.chown(self.folder, *self._user)
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "quorate", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_connections=50{self._sync}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-o", options, "-w", "-t", "60", "start")

    def stop(self) -> None:
        """Stop it as a power cut does: connections break."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"t{self._made}"
        self._run("createdb", "-h", str(self.folder), "-U", "quorate", name)
        return f"postgresql://quorate@/{name}?host={self.folder}"

    def sql(self, url: str, statement: str) -> str:
        """Run a statement beside the store, and return what psql prints, fields divided by |."""
        return self._run("psql", "-d", url, "-At", "-c", statement)

    def close(self) -> None:
        """Stop it for good and remove its files."""
        pid_file = self.folder / "data" / "postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split("\n")[0]), signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *words: str) -> str:
        as_user = {} if self._user is None else {"user": self._user[0], "group": self._user[1], "extra_groups": []}
        command = [self._binaries / name, *words]
        # What pg_ctl starts keeps its outputs: a pipe would not end.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False, **as_user
            )
            out.seek(0)
            text = out.read()
        assert done.returncode == 0, f"{name}: {text}"
        return text.strip()


def _user() -> tuple[int, int] | None:
    """Whom the server runs as: it refuses root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return entry.pw_uid, entry.pw_gid


def _binaries() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -float(folder.parent.name))
    found = shutil.which("initdb")
    if found is not None:
        folders.append(Path(found).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


@functools.cache
def binaries() -> Path:
    """Where the server's programs are; skips the test that asks where there are none."""
    found = _binaries()
    if found is None:
        if os.environ.get("QUORATE_REQUIRE_POSTGRES") == "1":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


@functools.cache
def _shared() -> Server:
    server = Server(binaries())
    atexit.register(server.close)
    return server


@pytest.fixture(scope="session")
def postgres() -> Server:
    """One server for all tests that import this fixture; each takes a `database()` of its own, and none stops it."""
    return _shared()
