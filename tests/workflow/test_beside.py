"""Snakemake beside another Snakemake that is at work in the same folder: neither disturbs the other.

This starts Snakemake nine times on a toy system: about a minute.
"""

import re
import time
from pathlib import Path

from tests.workflow.project import PATIENCE_SECONDS, Project, Run

MARKER = "results/first/.simulation.done"


def start_and_hold(project: Project) -> Run:
    """Start a run; return when the first experiment is simulated and the second waits for the file ``held`` to go."""
    project.write("held")
    run = project.start("--prioritize", MARKER)
    run.wait_until(lambda: (project.folder / MARKER).exists() and (project.folder / "reached").exists())
    return run


def test_a_look_at_the_rules_changes_nothing_beside_a_run_in_which_points_have_failed(
    project: Project, tmp_path: Path
) -> None:
    project.write("broken")
    run = start_and_hold(project)
    before = project.list_files("results/first")
    assert ".simulation.done" in before
    for look in (["-n"], ["--lint"], ["--report", "report.html"], ["--summary"]):
        output = project.run(*look).output
        assert project.list_files("results/first") == before, output
    (tmp_path / "held").unlink()
    assert run.finish() == 1, "points have failed"
    assert not re.search("Missing(Input|Output)Exception", run.output), run.output
    for name in ("first", "second"):
        assert (tmp_path / f"results/{name}/figures/{name}.png").exists(), run.output


def test_two_runs_beside_each_other_end_as_one_does(project: Project, tmp_path: Path) -> None:
    """The second run tries the points again that have failed in the first, and waits where the first is at work."""
    project.write("broken")
    first = start_and_hold(project)
    (tmp_path / "broken").unlink()
    second = project.start()
    second.wait_until(lambda: "waiting for it" in second.output)
    (tmp_path / "held").unlink()
    for run in (first, second):
        assert run.finish() == 0, run.output
    assert project.plan() == set()


def test_a_helper_works_for_the_jobs_and_ends_with_its_snakemake_however_that_ends(
    project: Project, tmp_path: Path
) -> None:
    run = start_and_hold(project)
    of_run = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text(encoding="ascii").split()
    (helper,) = (Path(f"/proc/{pid}") for pid in of_run if b"clhd.helper" in Path(f"/proc/{pid}/cmdline").read_bytes())
    run.wait_until((tmp_path / "results/first/figures/first.png").exists)
    assert "matplotlib" in (helper / "maps").read_text(encoding="utf-8"), "it was asked for the figure"
    run.process.kill()
    (tmp_path / "held").unlink()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while helper.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
