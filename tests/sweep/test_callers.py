"""`run_experiment` works from every kind of caller, and workers never run the caller's script."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANGS_AFTER_SECONDS = 240  # before the limit of a test ends all without a word
# Eight seconds by its own word, so that processes are started; in truth, it takes none.
SYSTEM = """
import clhd

class Falling(clhd.System):
    title = "falling"
    parameters = {"rate": clhd.Parameter(kind="number", default=1.0, above=0, meaning="rate", symbol="g")}
    outputs = {"height": clhd.Output(dims=("time",), words=clhd.describe("height", "h"))}

    def estimate_seconds(self, values, time):
        return 1.0

    def simulate(self, values, time, random):
        return {"height": values.rate * time + random.normal()}
"""
EXPERIMENT = "{system: falling.py:Falling, axes: {rate: [1, 2, 3, 4]}, times: [0, 1], replicas: 2}"
CALL = """
import clhd

print("begin", flush=True)

def compute(number):
    tree = clhd.run_experiment("falling.yaml", results=f"results-{number}")
    return int((tree["simulation"].status == 1).sum())
"""
CALLERS = {
    "a script without a guard": "print([compute(0)])",
    "a pool": """
        from multiprocessing import get_context

        if __name__ == "__main__":
            with get_context("spawn").Pool(2) as pool:
                print(pool.map(compute, range(2)))
        """,
    "a pool forked after a call": """
        from multiprocessing import get_context

        compute(0)
        with get_context("fork").Pool(1) as pool:
            print(pool.map(compute, [1]))
        """,
    "tasks of Dask": """
        from distributed import Client, LocalCluster

        if __name__ == "__main__":
            workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
            with LocalCluster(**workers) as local, Client(local) as client:
                print(client.gather(client.map(compute, range(2))))
        """,
    "a thread": """
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as threads:
            print(list(threads.map(compute, [0])))
        """,
}


def call(folder: Path, source: str, *, from_input: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run a script in a folder with the experiment; if it hangs, fail with the stacks of all its processes."""
    (folder / "falling.py").write_text(SYSTEM)
    (folder / "falling.yaml").write_text(EXPERIMENT)
    (folder / "script.py").write_text(source)
    command = [sys.executable, "-" if from_input else "script.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    with (
        (folder / "script.py").open() as script,
        subprocess.Popen(
            command, stdin=script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=folder, env=environment, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            stdout, stderr = process.communicate(timeout=HANGS_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)
            pytest.fail("it hangs:\n" + "\n".join(process.communicate()))
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@pytest.mark.parametrize("caller", CALLERS)
def test_an_experiment_runs_from_anywhere(tmp_path: Path, caller: str) -> None:
    done = call(tmp_path, CALL + textwrap.dedent(CALLERS[caller]))
    assert done.returncode == 0, done.stderr
    *begins, last = done.stdout.splitlines()
    assert last in ("[8]", "[8, 8]")
    if caller not in ("a pool", "tasks of Dask"):  # there, the script's own processes import it
        assert begins == ["begin"], "a worker ran the script"
    lines = [line for line in done.stderr.splitlines() if "distributed.nanny" not in line]  # of the script's cluster
    assert all(line.startswith("falling simulation: ") for line in lines), done.stderr


def test_a_fork_reads_with_threads_of_its_own(tmp_path: Path) -> None:
    """Dask would hand the one task of this read to an idle thread of the parent, which the fork does not have."""
    source = """
        from multiprocessing import get_context

        def read(number):
            return int(clhd.open_results("results-0/falling")["simulation"].status[number, 0].compute())

        assert [read(number) for number in range(4)] == [1] * 4
        with get_context("fork").Pool(1) as pool:
            print(pool.map(read, [1]))
        """
    assert call(tmp_path, CALL + "compute(0)").returncode == 0
    done = call(tmp_path, CALL + textwrap.dedent(source))  # in a process that only reads
    assert (done.returncode, done.stdout) == (0, "begin\n[1]\n"), done.stderr


def test_an_experiment_runs_from_standard_input(tmp_path: Path) -> None:
    done = call(tmp_path, CALL + "print([compute(0)])", from_input=True)
    assert (done.returncode, done.stdout) == (0, "begin\n[8]\n"), done.stderr
    assert all(line.startswith("falling simulation: ") for line in done.stderr.splitlines()), done.stderr


def test_two_calls_in_one_process_are_told_apart_from_another_process(tmp_path: Path) -> None:
    source = """
        from pathlib import Path

        from clhd.sweep.store.lock import hold_lock

        with hold_lock(Path("results-0/falling/simulation.zarr")):
            try:
                compute(0)
            except clhd.ClhdError as error:
                print(error)
        """
    done = call(tmp_path, CALL + textwrap.dedent(source))
    assert done.stdout.splitlines()[1] == (
        "results-0/falling/simulation.zarr: is being written by another call in this process; wait until it ends"
    )
    assert done.stderr == ""
