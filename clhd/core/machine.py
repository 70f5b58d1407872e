"""`count_cores`, `find_memory`: what a process may use, which on a shared machine is less than the machine has.

| bound | set by |
|---|---|
| affinity | taskset, a batch system, a container |
| quota of CPU time | control groups, version 1 or 2: containers, systemd, batch systems |
| SLURM_CPUS_PER_TASK | SLURM, of which some installations bind no process to its cores |
"""

import math
import os
import resource
from pathlib import Path

# Environment in which libraries compute with one thread: clhd uses the cores by computing several blocks at once.
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")}
_GROUPS, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def count_cores() -> int:
    """Return the number of cores that this process may use, 1 or more."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_quota()
    if quota is not None:
        count = min(count, math.ceil(quota))
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if asked.isdecimal():
        count = min(count, int(asked))
    return max(count, 1)


def read_quota(groups: Path = _GROUPS, mount: Path = _MOUNT) -> float | None:
    """Return the least quota of this process's control groups, in cores; None if no group has one.

    Parameters
    ----------
    groups : Path
        File with one line ``number:controllers:path`` for each hierarchy; version 2 has no controllers.
    mount : Path
        Folder of all hierarchies.
    """
    quotas = []
    for line in _read(groups).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount / controllers if controllers else mount
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            quotas.append(_read_quota_of(folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def find_memory(mount: Path = _MOUNT) -> int:
    """Return the bytes of memory that all processes together may use, of the machine, its container and `ulimit -m`.

    Parameters
    ----------
    mount : Path
        Folder of all hierarchies of control groups.
    """
    bounds = [_read(mount / "memory.max").strip(), _read(mount / "memory" / "memory.limit_in_bytes").strip()]
    allowed = [int(bound) for bound in bounds if bound.isdecimal()] + [resource.getrlimit(resource.RLIMIT_RSS)[0]]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(bound for bound in allowed if bound > 0)])


def _read_quota_of(folder: Path) -> float | None:
    """The quota of one group, in cores: CPU time over the period in which it may be used."""
    words = _read(folder / "cpu.max").split() or [
        *_read(folder / "cpu.cfs_quota_us").split(),
        *_read(folder / "cpu.cfs_period_us").split(),
    ]
    if len(words) != 2 or not all(word.isdecimal() and int(word) > 0 for word in words):  # "max" and -1: no bound
        return None
    return int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
