"""One tiny run of the whole workflow, from YAML to figures, and the runs after it.

This starts Snakemake ten times on a toy system: about 25 s.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.workflow.project import EXPERIMENT, ROOT, Project, stages


def test_the_workflow_runs_fails_where_points_fail_and_takes_up_what_is_left(project: Project, tmp_path: Path) -> None:
    project.write("broken", "")
    run = project.run()
    assert run.code == 1, run.output
    assert run.jobs == stages("first", "second")
    assert re.search(r"first +simulation +failed +24 +16 +8 ", run.output), run.output
    for name in ("first", "second"):
        folder = tmp_path / "results" / name
        for part in ("simulation.zarr", "theory.zarr", f"figures/{name}.pdf", f"figures/{name}.png"):
            assert (folder / part).exists(), run.output
        assert "leaves 2 points incomplete" in (folder / "figures" / f"{name}.rst").read_text(encoding="utf-8")
        assert {path.stem for path in (folder / "logs").iterdir()} == {
            "simulate_points",
            "predict_points",
            "summarise_points",
            "plot_experiment",
        }

    report = tmp_path / "results" / "report.html"
    assert report.read_text(encoding="utf-8").count('<span class="state">failed</span>') == 2

    (tmp_path / "broken").unlink()
    run = project.run()
    assert run.code == 0, run.output
    assert "first/simulation.zarr: 24 ok; 8 computed now" in run.output
    with xr.open_zarr(tmp_path / "results" / "first" / "summary.zarr") as summary:
        assert int(summary["replica_count"].sel(status="ok").sum()) == 24
    assert report.read_text(encoding="utf-8").count('<span class="state">complete</span>') == 2
    assert "each; all runs are ok" in (tmp_path / "results/first/figures/first.rst").read_text(encoding="utf-8")

    (tmp_path / "config" / "first.yaml").touch()
    assert project.plan() == set(), "a file that was saved without a change is no reason to compute"
    project.write("config/first.yaml", EXPERIMENT.format(slope=2, seed=1).replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    shutil.rmtree(tmp_path / "results" / "second" / "summary.zarr")
    assert project.plan() == stages("first") | {("second", "summarise"), ("second", "plot")}


def test_a_stage_on_which_there_is_nothing_to_compute_has_no_job(project: Project, tmp_path: Path) -> None:
    project.write("config/config.yaml", "experiments: [config/theory.yaml]\n")
    text = "system: flaky\nconstants: {simulation: none}\naxes: {slope: [0, 1]}\ntimes: [0, 1]\nfigure: none\n"
    project.write("config/theory.yaml", text)
    run = project.run()
    assert run.code == 0, run.output
    assert run.jobs == {("theory", "predict"), ("theory", "summarise")}
    assert project.plan() == set()
    shutil.rmtree(tmp_path / "results" / "theory" / "theory.zarr")
    assert project.plan() >= {("theory", "predict"), ("theory", "summarise")}


THREADS = """\
import os
import sys

import clhd


class Threads(clhd.System):
    title = "threads of a process that computes"
    parameters = {"slope": clhd.Parameter(kind="number", default=1.0, meaning="slope")}
    outputs = {name: clhd.Output(dims=(), words=clhd.describe(name)) for name in ("threads", "has_dask", "cores")}
    time = None

    def estimate_seconds(self, values, time):
        return 2.0  # by its own word: together more than what threads do where no process can be forked

    def simulate(self, values, time, random):
        cores, threads = int(sys.argv[sys.argv.index("--workers") + 1]), int(os.environ["OPENBLAS_NUM_THREADS"])
        return {"threads": threads, "has_dask": "distributed" in sys.modules, "cores": cores}
"""


def test_a_stage_of_two_cores_forks_since_snakemake_starts_no_threads_in_it(project: Project, tmp_path: Path) -> None:
    project.write("config/threads.py", THREADS)
    project.write(
        "config/threads.yaml", "system: threads.py:Threads\naxes: {slope: [0, 1]}\nreplicas: 4\nfigure: none\n"
    )
    project.write("config/config.yaml", "experiments: [config/threads.yaml]\n")
    run = project.run("--no-hooks")  # without the helper, whose forks have no threads anyway
    assert run.code == 0, run.output
    with xr.open_zarr(tmp_path / "results" / "threads" / "simulation.zarr") as found:
        assert {name: np.unique(found[name]).tolist() for name in ("threads", "has_dask", "cores")} == {
            "threads": [1],
            "has_dask": [0],
            "cores": [2],
        }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("slope: [0, 1, 2]", "slope: [0, 60]"), "config/first.yaml: axes: 2 of 4 points are impossible"),
        (("seed: 1", "figure: pie"), "config/first.yaml: figure = 'pie': must be one of border, convergence, grid"),
        (
            ("times: [0, 1]", "times: [1]\nfigure: trajectories"),
            "config/first.yaml: figure = 'trajectories': needs two or more times, not times = [1.0]",
        ),
        (("times", "tims"), "config/first.yaml: unknown key 'tims'; did you mean 'times'?"),
    ],
    ids=["point", "figure", "times", "key"],
)
def test_a_mistake_in_a_file_is_one_line_and_exit_code_2_and_nothing_is_written(
    project: Project, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    project.write("config/first.yaml", EXPERIMENT.format(slope=2, seed=1).replace(*change))
    run = project.run()
    assert run.code == 2, run.output
    assert message in run.output
    assert "Traceback" not in run.output
    assert not (tmp_path / "results").exists()


def test_the_profile_of_slurm_sets_what_the_default_one_does_and_the_cores_of_what_takes_all() -> None:
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))
        for name in ("default", "slurm")
    )
    del default["cores"]  # of this machine
    assert default.items() <= slurm.items()
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    takes_all = {rule.partition(":")[0] for rule in rules.split("\nrule ") if "threads: share_cores" in rule}
    assert set(slurm["set-threads"]) == takes_all


def test_snakemake_finds_nothing_to_say_of_the_rules_but_that_they_use_the_installed_clhd() -> None:
    command = [sys.executable, "-m", "snakemake", "--lint", "--configfile", "tests/workflow/tiny/config.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lints = re.findall(r"^    \* (.*)$", done.stdout + done.stderr, re.MULTILINE)
    # Every rule runs the clhd beside this Snakemake, in its versions of the lock: an environment for each rule would be
    # a second statement of them, which nothing here could test.
    assert set(lints) == {"Specify a conda environment or container for each rule.:"}
