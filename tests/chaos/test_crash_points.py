"""A share of the crash points of `make chaos`, in processes of their own: they fork, and pytest has threads."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.crash_points import OPERATIONS

ROOT = Path(__file__).parents[2]


NAMES = [operation.name for operation in OPERATIONS]


# One process for several operations: each takes seconds to start.
@pytest.mark.parametrize("names", [NAMES[::2], NAMES[1::2]], ids=" ".join)
def test_after_a_kill_at_a_change_of_a_file_all_is_as_if_nothing_had_been(names: list[str]) -> None:
    command = [sys.executable, "-m", "tests.chaos.crash_points", "--share", "250", "--flips", "0", "--only", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        (row,) = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(f"| {name} |")]
        assert int(row[1]) > 0
        assert row[2:] == ["0", "0", "0 |"]
