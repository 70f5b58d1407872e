"""A share of the crash points of `make chaos`, in a process of its own: it forks, and pytest has threads."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.crash_points import OPERATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [operation.name for operation in OPERATIONS])
def test_after_a_kill_at_a_change_of_a_file_all_is_as_if_nothing_had_been(name: str) -> None:
    command = [sys.executable, "-m", "tests.chaos.crash_points", "--share", "150", "--flips", "0", "--only", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(f"| {name} |")]
    assert int(row[1]) > 0
    assert row[2:] == ["0", "0", "0 |"]
