"""The number of usable cores, where a container or a batch system gives a process fewer than the machine has."""

from pathlib import Path

import pytest

from clhd.core import machine
from clhd.core.machine import count_cores, read_quota


def write_tree(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root / "cgroup", root / "mount"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cgroup": "0::/\n", "mount/cpu.max": "150000 100000\n"}, 1.5),
        ({"cgroup": "0::/\n", "mount/cpu.max": "max 100000\n"}, None),
        ({"cgroup": "0::/a/b\n", "mount/a/b/cpu.max": "max 100000\n", "mount/a/cpu.max": "400000 100000\n"}, 4.0),
        (
            {
                "cgroup": "5:memory:/x\n4:cpu,cpuacct:/job\n0::/\n",
                "mount/cpu,cpuacct/job/cpu.cfs_quota_us": "200000\n",
                "mount/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
                "mount/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "mount/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        ({"cgroup": "4:cpu:/gone\n"}, None),
        ({"cgroup": "no such line\n", "mount/cpu.max": "a b\n"}, None),
        ({}, None),
    ],
    ids=["version 2", "no bound", "of a parent", "version 1", "not mounted", "other text", "no control groups"],
)
def test_the_least_quota_of_the_control_groups_counts(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert read_quota(*write_tree(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("quota", "asked", "count"),
    [(None, "", 8), (1.5, "", 2), (0.1, "", 1), (None, "3", 3), (2.0, "3", 2), (None, "0", 1), (None, "99", 8)],
)
def test_affinity_quota_and_slurm_bound_the_cores(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, asked: str, count: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "read_quota", lambda: quota)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
    assert count_cores() == count
