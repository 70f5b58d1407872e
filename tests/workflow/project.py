"""A folder with a config of two experiments of a toy system, in which tests run the workflow of this project."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXPERIMENT = """\
system: flaky
axes: {{slope: [0, 1, {slope}], size: [4, 16]}}
times: [0, 1]
replicas: 4
seed: {seed}
"""
PATIENCE_SECONDS = 120  # after this time a test has failed; nothing is measured by it


@dataclass
class Run:
    """A Snakemake at work, and the file of its output."""

    process: "subprocess.Popen[bytes]"
    file: Path

    @property
    def output(self) -> str:
        return self.file.read_text(encoding="utf-8")

    @property
    def code(self) -> int | None:
        return self.process.returncode

    @property
    def jobs(self) -> set[tuple[str, str]]:
        """What it does, or would do, as pairs of experiment and stage."""
        return set(re.findall(r"^Job \d+: (\w+): (\w+)$", self.output, flags=re.MULTILINE))

    def finish(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(timeout=2 * PATIENCE_SECONDS)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has happened; fail if the run ends before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)


class Project:
    """A folder with a config of two experiments, in which the workflow runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Run] = []
        self.write("config/config.yaml", "experiments: [config/first.yaml, config/second.yaml]\n")
        self.write("config/first.yaml", EXPERIMENT.format(slope=2, seed=1))
        self.write("config/second.yaml", EXPERIMENT.format(slope=7, seed=2))

    def write(self, name: str, text: str = "") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def start(self, *arguments: str, snakefile: Path = ROOT / "Snakefile") -> "Run":
        """Start the workflow of the project that this test belongs to, here."""
        paths = os.pathsep.join([str(ROOT / "tests" / "workflow"), str(ROOT)])
        command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(snakefile), "--cores", "2", *arguments]
        output = self.folder / f"output-{len(self.started)}"
        with output.open("w", encoding="utf-8") as file:
            environment = {**os.environ, "PYTHONPATH": paths}
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
        self.started.append(Run(process, output))
        return self.started[-1]

    def run(self, *arguments: str, snakefile: Path = ROOT / "Snakefile") -> "Run":
        """Run the workflow to its end."""
        run = self.start(*arguments, snakefile=snakefile)
        run.finish()
        return run

    def plan(self, *arguments: str, snakefile: Path = ROOT / "Snakefile") -> set[tuple[str, str]]:
        """What the next run would do, as pairs of experiment and stage."""
        run = self.run("-n", *arguments, snakefile=snakefile)
        assert run.code == 0, run.output
        return run.jobs

    def list_files(self, part: str) -> dict[str, tuple[int, bytes]]:
        """The date and the content of each file in a part of the folder."""
        root = self.folder / part
        files = [path for path in root.rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def stages(*experiments: str) -> set[tuple[str, str]]:
    """All stages of experiments."""
    return {(name, stage) for name in experiments for stage in ("simulate", "predict", "summarise", "plot")}
