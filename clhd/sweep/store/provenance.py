"""`describe_run`: code version, dependencies, host and time of a run, kept in the attributes of every store."""

import os
import platform
import socket
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clhd.core.machine import count_cores

_DEPENDENCIES = ("numpy", "scipy", "numba", "llvmlite", "xarray", "zarr", "dask", "distributed")


@cache
def describe_code() -> str:
    """Return the version of clhd and, in a git checkout, its commit, with "dirty" if tracked files have changed."""
    try:
        release = version("clhd")
    except PackageNotFoundError:
        release = "unknown"
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return release
    try:
        commit = _ask_git(root, "rev-parse", "--short=12", "HEAD")
        dirty = _ask_git(root, "status", "--porcelain", "--untracked-files=no", "--", "clhd") != ""
    except (OSError, subprocess.SubprocessError):
        return release
    return f"{release}+{commit}{' dirty' if dirty else ''}"


def _ask_git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as in a hook
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10, env=environment)
    return done.stdout.strip()


@cache
def describe_dependencies() -> dict[str, str]:
    """Return the versions of the packages on which the bits of a result may depend."""
    found = {"python": platform.python_version()}
    for name in _DEPENDENCIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_run() -> dict[str, Any]:
    """Return what is known of a run of a stage at its start."""
    return {
        "started": now(),
        "code": describe_code(),
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "cores": count_cores(),
        "dependencies": describe_dependencies(),
    }


def now() -> str:
    """Return the time in UTC, as a text that sorts."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
