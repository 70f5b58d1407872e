"""A share of the crash points of `make chaos`, in a process of its own: it forks, and pytest has threads."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_after_an_interruption_at_a_change_of_a_file_all_is_as_if_nothing_had_been() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.chaos.crash_points",
        "--every",
        "210",
        "--kill-every",
        "300",
        "--flips",
        "0",
    ]
    command += ["--only", "growth", "repair", "report"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| **all** |")]
    assert int(row[2]) > 1
    assert int(row[3]) > 2
    assert row[4:] == ["0", "0", "0 |"]
