"""Building the kernels: once for a machine and a version, by the C compiler that is there, into the cache.

They are not linked with an OpenMP runtime of their own, which would compete with torch's for the cores: torch loads its
own for all to see. Where anything is missing (Linux, gcc, a cache that is the user's alone), or what was built does not
compute what it should, there are no kernels.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from circlet.download import cache_dir
from circlet.files import write_atomically

SOURCES = Path(__file__).parent
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC")
WIDE = "-mprefer-vector-width=512"  # gcc uses half of AVX-512 otherwise
SECONDS = 60.0


@cache
def load() -> ctypes.CDLL | None:
    """The kernels, built if they are not; None: something is missing."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(str(_library()))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # a RuntimeError: there is no home for a cache
        return None


def _library() -> Path:
    compiler = Path(shutil.which("gcc") or "gcc").resolve(strict=True)
    flags = (*FLAGS, WIDE) if os.uname().machine == "x86_64" else FLAGS
    units = sorted(SOURCES.glob("*.c"))
    text = [each.read_text() for each in (*units, *SOURCES.glob("*.h"))]
    made_of = (text, flags, compiler, compiler.stat().st_mtime, _processor())
    path = cache_dir() / "native" / f"{hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory() as folder:
            for command in ((*flags, "-c", *units), ("-shared", *(f"{each.stem}.o" for each in units), "-lm")):
                subprocess.run(["gcc", *command], cwd=folder, capture_output=True, check=True, timeout=SECONDS)
            content = (Path(folder) / "a.out").read_bytes()
            write_atomically(path, lambda file: file.write(content))
            path.chmod(0o600)
    for each in (path, path.parent):
        if each.stat().st_uid != os.getuid() or each.stat().st_mode & 0o022:
            raise OSError(f"{each}: others may write it, expected a file of one's own")
    return path


def _processor() -> str:
    """What distinguishes processors for which code is built, on a cache that several machines share."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(
        sorted({line for line in lines if line.split(":")[0].strip() in ("model name", "flags", "Features")})
    )
