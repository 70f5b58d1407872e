"""The part of the campaign that damages files at random: the tests of `tests/security` that draw the damage."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.runs import ROOT

_TESTS = ("tests/security/test_experiment_files.py", "tests/security/test_metadata.py")


def fuzz(experiments: int, seed: int, jobs: int, log: Path) -> dict[str, Any]:
    """Mutate so many experiment files, and of all else in proportion; what came of it. The screen is in `log`."""
    began = time.perf_counter()
    log.parent.mkdir(parents=True, exist_ok=True)
    tally = log.with_suffix(".tally")
    tally.write_bytes(b"")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}"]
    # A test takes as long as its many examples, of which each has its own limit.
    command += [f"--numprocesses={jobs}", "--dist=worksteal", "--timeout=0", *_TESTS]
    environment = {**os.environ, "CLHD_FUZZ": str(experiments), "CLHD_FUZZ_TALLY": str(tally)}
    with log.open("wb") as stream:
        run = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False
        )
    counts: dict[str, Counter[str]] = {}
    for line in tally.read_text(encoding="utf-8").splitlines():
        what, _, answer = line.partition(": ")
        counts.setdefault(what, Counter())[answer] += 1
    tally.unlink()
    failed = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith(("FAILED", "ERROR"))]
    return {
        "experiments": experiments,
        "counts": {what: dict(answers) for what, answers in counts.items()},
        "minutes": (time.perf_counter() - began) / 60,
        "exit_code": run.returncode,
        "result": "all as it must be" if run.returncode == 0 else f"**failed**, {len(failed)} tests",
        "failed": failed,
        "log": str(log),
    }
