"""Each kind of error has a class, which is also the builtin that a caller expects, and one exit code."""

import errno
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

import clhd
from clhd.cli import main
from clhd.errors import describe_unwritable, explain_unwritable
from clhd.sweep.cluster.cluster import Cluster
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.store.lock import hold_lock
from clhd.sweep.store.store import Store
from tests.sweep.conftest import MakeExperiment, client, results, toy, toy_system

__all__ = ["client", "results", "toy", "toy_system"]  # fixtures
BUILTIN: dict[type[clhd.ClhdError], type[Exception] | None] = {
    clhd.InputError: ValueError,
    clhd.FileError: OSError,
    clhd.ResultsError: None,
    clhd.LockedError: None,
    clhd.ClusterError: None,
}
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("kind", BUILTIN)
def test_an_error_is_caught_as_one_of_clhd_and_as_its_builtin_and_no_other(kind: type[clhd.ClhdError]) -> None:
    assert issubclass(kind, clhd.ClhdError)
    for builtin in (ValueError, OSError, RuntimeError):
        assert issubclass(kind, builtin) == (builtin is BUILTIN[kind])


@pytest.mark.parametrize("kind", [*BUILTIN, clhd.ClhdError])
def test_the_command_prints_one_line_and_returns_2(
    kind: type[clhd.ClhdError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Any) -> int:
        raise kind("results: not so")

    monkeypatch.setattr("clhd.cli.commands.schema", fail)
    fail.__name__ = "schema"
    assert main(["schema"]) == 2
    assert capsys.readouterr().err == "results: not so\n"


def test_a_file_error_keeps_the_reason_and_is_explained_once() -> None:
    with pytest.raises(clhd.FileError) as caught, explain_unwritable(Path("outer")), explain_unwritable(Path("inner")):
        raise FULL
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value) == describe_unwritable("inner", FULL)


def test_a_wrong_experiment_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("{system: nobody, axes: {}}")
    with pytest.raises(clhd.InputError, match="nobody"):
        clhd.read_experiment(tmp_path / "wrong.yaml")


def test_a_disk_that_is_full_for_a_worker_is_a_file_error(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr(Store, "merge_chunk", refuse)
    with pytest.raises(clhd.FileError, match="No space left on device; free some") as caught:
        run_stage(toy(), "simulation", results, client=client)
    assert caught.value.errno == errno.ENOSPC


def test_results_that_another_run_holds_are_a_locked_error(toy: MakeExperiment, results: Path, client: Client) -> None:
    with hold_lock(results / "toy" / "simulation.zarr"), pytest.raises(clhd.LockedError, match="is being written by"):
        run_stage(toy(), "simulation", results, client=client)


def test_results_that_are_not_there_are_a_results_error(results: Path) -> None:
    with pytest.raises(clhd.ResultsError, match="holds no results"):
        clhd.open_results(results)


def test_a_scheduler_that_cannot_be_trusted_is_a_cluster_error() -> None:
    with pytest.raises(clhd.ClusterError, match="must begin with tls://"):
        Cluster(scheduler="tcp://192.0.2.1:8786")
