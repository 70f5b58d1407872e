"""After any earlier run, the next run continues, grows the store, repairs it, or refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

import clhd.sweep.run.run_stage
from clhd.core.progress import Progress
from clhd.errors import ClhdError
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.inspect import replay_point
from clhd.sweep.results.state import State, find_states
from clhd.sweep.results.summary import write_summary
from clhd.sweep.run.run_stage import set_aside
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.store.lock import hold_lock
from clhd.sweep.store.store import Store
from tests.sweep.conftest import Killed, MakeExperiment, killed_at
from tests.sweep.stages import assert_same_bits, heights, simulate
from tests.sweep.toy import LOG, ToySimulation, ToySystem


def test_a_second_run_computes_nothing_and_reads_the_status_once(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert simulate(toy(), results, client).computed == 32
    before = heights(results)
    calls, readings, read = LOG.calls, [], Store.status

    def count(store: Store) -> Any:
        readings.append(store.path)
        return read(store)

    monkeypatch.setattr(Store, "status", count)
    report = simulate(toy(), results, client)
    assert (report.computed, report.counts["ok"]) == (0, 32)
    assert LOG.calls == calls
    assert len(readings) == 1
    assert_same_bits(before, heights(results))


def test_an_interrupted_run_goes_on_where_it_was(
    toy: MakeExperiment, results: Path, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(toy(), tmp_path / "whole", client)
    LOG.simulated.clear()
    done = 0

    def stop_after_two(self: Progress, runs: int, seconds: float) -> None:
        nonlocal done
        done += 1
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            simulate(toy(), results, client)
    report = simulate(toy(), results, client)
    assert report.is_complete
    assert report.computed <= 32 - 2
    assert_same_bits(heights(tmp_path / "whole"), heights(results))


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {"slope": [-1, 0, 0.5, 1, 2, 3, 9], "size": [4, 8, 16]}},
        {"replicas": 7},
        {"axes": {"slope": [0, 1, 2, 3, 4], "size": [1, 4, 16]}, "replicas": 5},
    ],
    ids=["axes", "replicas", "both"],
)
def test_growth_keeps_what_is_known_and_equals_the_whole(
    toy: MakeExperiment, results: Path, tmp_path: Path, client: Client, changes: dict[str, Any]
) -> None:
    simulate(toy(), results, client)
    LOG.simulated.clear()
    report = simulate(toy(**changes), results, client)
    assert report.is_complete
    grown = heights(results)
    assert report.computed == grown.isel(time=0).size - 32
    assert sum(len(replicas) for _, replicas in LOG.simulated) == report.computed
    simulate(toy(**changes), tmp_path / "whole", client)
    assert_same_bits(grown, heights(tmp_path / "whole"))
    assert sorted(path.name for path in (results / "toy").iterdir()) == [
        ".simulation.lock",
        ".simulation.writing",
        "simulation.zarr",
    ]


def test_a_smaller_experiment_forgets_nothing_and_is_summarised_alone(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(), client, results=results)
    small = toy(axes={"slope": [1, 3], "size": [16]}, replicas=3)
    tree = run_experiment(small, client, results=results)
    assert tree["simulation"]["height"].sizes["slope"] == 4
    summary = tree["summary"]
    assert summary["height_mean"].shape == (2, 1, 3, 1)
    expected = tree["simulation"]["height"].sel(slope=[1, 3], size=[16], replica=[0, 1, 2]).mean("replica")
    np.testing.assert_allclose(summary["height_mean"], expected)
    assert simulate(toy(), results, client).computed == 0


def test_a_failing_point_stops_no_other_and_is_tried_again(toy: MakeExperiment, results: Path, client: Client) -> None:
    LOG.broken.add(2.0)
    axes = {"slope": [-1, 0, 1, 2, 3], "size": [4, 16]}
    report = simulate(toy(axes=axes, constants={"work": 0.01}), results, client)
    assert report.counts == {"not_run": 0, "ok": 24, "diverged": 8, "not_converged": 0, "failed": 8}
    assert not report.is_complete
    with xr.open_zarr(str(results / "toy" / "simulation.zarr"), chunks=None) as opened:
        failed = opened.sel(slope=2, size=4, replica=0)
        assert failed["error_type"].item() == "ZeroDivisionError"
        assert failed["error_message"].item() == "the slope 2 is broken"
        assert failed["attempts"].item() == 1
    LOG.broken.clear()
    LOG.simulated.clear()
    report = simulate(toy(axes=axes, constants={"work": 0.01}), results, client)
    assert report.counts == {"not_run": 0, "ok": 32, "diverged": 8, "not_converged": 0, "failed": 0}
    assert report.computed == 8  # the divergences are results
    with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
        assert opened["error_type"].sel(slope=2).values.tolist() == [[""] * 4] * 2
        assert opened["attempts"].max() == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"constants": {"weight": 2.0}},
            r"was computed with weight = 1; the file now says weight = 2\. Restore the file, or .*--fresh",
        ),
        ({"seed": 4}, r"was computed with seed = 3; the file now says seed = 4\."),
        ({"axes": {"slope": [0, 1]}}, r"was computed with axes = slope, size; the file now says axes = slope\."),
    ],
)
def test_other_constants_are_refused(
    toy: MakeExperiment, results: Path, client: Client, changes: dict[str, Any], message: str
) -> None:
    simulate(toy(), results, client)
    before = heights(results)
    with pytest.raises(ClhdError, match=message):
        simulate(toy(**changes), results, client)
    assert_same_bits(before, heights(results))


def test_a_change_of_the_theory_alone_is_refused_before_the_simulation_computes_or_grows(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(), client, results=results)
    LOG.calls = 0
    before = sorted(path for path in results.rglob("*"))
    with pytest.raises(ClhdError, match=r"theory\.zarr: was computed with lift = 0; the file now says lift = 1"):
        run_experiment(toy(constants={"lift": 1}, replicas=8), client, results=results)
    assert LOG.calls == 0
    assert sorted(path for path in results.rglob("*")) == before


def test_a_constant_of_one_component_that_is_left_out_is_a_change(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    simulate(toy(constants={"features": 2, "weight_2": 3}), results, client)
    with pytest.raises(ClhdError, match=r"was computed with weight_2 = 3; the file now says weight_2 = 1\."):
        simulate(toy(constants={"features": 2}), results, client)


@pytest.mark.parametrize("written_first", [True, False])
def test_the_default_of_one_component_is_a_change_where_that_of_all_is_an_axis(
    toy: MakeExperiment, results: Path, client: Client, written_first: bool
) -> None:
    axes = {"weight": [2, 3]}
    constants = [{"slope": 1, **own} for own in ({"weight_1": 1}, {})]
    first, second = constants if written_first else constants[::-1]
    simulate(toy(axes=axes, constants=first), results, client)
    before = heights(results)
    values = ["1", "that of weight"]
    was, now = values if written_first else values[::-1]
    with pytest.raises(ClhdError, match=f"was computed with weight_1 = {was}; the file now says weight_1 = {now}\\."):
        simulate(toy(axes=axes, constants=second), results, client)
    assert_same_bits(before, heights(results))
    assert simulate(toy(axes=axes, constants=first), results, client).computed == 0


def test_a_default_that_is_written_out_is_no_change(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    assert simulate(toy(constants={"colour": "red", "weight": 1}), results, client).computed == 0


def test_fresh_moves_the_old_store_aside(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    set_aside([Stage(toy(seed=4), "simulation")], results)
    assert simulate(toy(seed=4), results, client).computed == 32
    (aside,) = (results / "toy").glob("simulation-until-*.zarr")
    assert Store(aside).attributes["experiment"]["seed"] == 3


def test_fresh_moves_nothing_while_another_run_holds_one_of_the_stores(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(), client, results=results)
    stages = [Stage(toy(seed=4), "simulation"), Stage(toy(seed=4), "theory")]
    with hold_lock(results / "toy" / "theory.zarr"), pytest.raises(ClhdError, match="is being written by"):
        set_aside(stages, results)
    assert not list((results / "toy").glob("*-until-*.zarr"))


def test_a_store_that_is_a_link_is_refused(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    path = results / "toy" / "simulation.zarr"
    path.symlink_to(path.rename(results / "elsewhere.zarr"))
    with pytest.raises(ClhdError, match=r"simulation\.zarr: is a link"):
        simulate(toy(), results, client)


def test_fresh_moves_all_stores_aside_before_anything_is_computed(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_experiment(toy(), client, results=results)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(clhd.sweep.run.run_stage, "execute_plan", stop)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(toy(seed=4), client, results=results, fresh=True)
    assert len(list((results / "toy").glob("*-until-*.zarr"))) == 2
    summary = run_experiment(toy(seed=4), client, results=results)["summary"]
    assert json.loads(summary.attrs["experiment"])["seed"] == 4


def test_fewer_times_are_cut_out_and_other_times_are_refused(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    whole = run_experiment(toy(), client, results=results)["summary"].to_dataset().load()
    assert simulate(toy(times=[0, 2]), results, client).computed == 0
    cut = run_experiment(toy(times=[0, 2]), client, results=results)["summary"].to_dataset().load()
    xr.testing.assert_equal(cut, whole.sel(time=[0, 2]))
    assert simulate(toy(times=[2], replicas=5), results, client).computed == 8
    assert replay_point(toy(times=[2]), results, {"slope": "1", "size": "4"}).different == ()
    with pytest.raises(
        ClhdError,
        match=r"with times = \[0, 1, 2\]; the file now says times = \[0, 5\]\. .*--fresh.*; "
        r"the simulation takes 9\.6 s of one core then",
    ):
        simulate(toy(times=[0, 5]), results, client)


@pytest.mark.parametrize("kept", [{}, {"keep": "moments", "replicas": 256}])
def test_fewer_times_are_refused_where_a_run_may_have_a_result_by_them(
    toy: MakeExperiment, results: Path, client: Client, kept: dict[str, Any]
) -> None:
    wanted = {"axes": {"slope": [-1, 1]}, **kept}
    run_experiment(toy(**wanted), client, results=results)
    count = kept.get("replicas", 4)
    message = (
        rf"times = \[0, 1, 2\]; the file now says times = \[0\], by which {count} runs that diverged or did not "
        "converge may have a result. Restore the file, or .*--fresh"
    )
    for read in (simulate, write_summary):
        arguments = (client,) if read is simulate else ()
        with pytest.raises(ClhdError, match=message):
            read(toy(**wanted, times=[0]), results, *arguments)
    run_experiment(toy(**wanted | {"axes": {"slope": [1]}}, times=[0]), client, results=results)


def test_a_prediction_that_may_be_found_at_fewer_times_is_refused(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    wanted = {"axes": {"slope": [1, 7]}}
    run_experiment(toy(**wanted), client, results=results)
    with pytest.raises(ClhdError, match=r"theory\.zarr: .* by which 1 run that diverged or did not converge may have"):
        run_experiment(toy(**wanted, times=[0]), client, results=results)


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": "height"},
        {
            "axes": {"slope": [0, 2], "size": [4, 16]},
            "refine": {"quantity": "height_theory", "select": {"time": 2}, "level": 3, "along": ["slope"], "rounds": 1},
        },
    ],
    ids=lambda change: [*change][-1],
)
def test_a_summary_is_stale_once_the_file_has_another_key(
    toy: MakeExperiment, results: Path, client: Client, change: dict[str, Any]
) -> None:
    run_experiment(toy(axes={"slope": [0, 1, 2], "size": [4, 16]}), client, results=results)
    wanted = toy(**{"axes": {"slope": [0, 1, 2], "size": [4, 16]}} | change)
    assert find_states(wanted, results)["summary"].state == State.STALE
    run_experiment(wanted, client, results=results)
    assert {found.state for found in find_states(wanted, results).values()} == {State.COMPLETE}


def test_readers_see_that_a_list_of_the_value_of_all_components_changes_nothing(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(), client, results=results)
    table = toy().resolved() | {"constants": {"weight": [1]}}
    assert simulate(parse_experiment(table), results, client).computed == 0
    states = find_states(parse_experiment(table, check=False), results)
    assert (states["simulation"].state, states["theory"].state) == (State.COMPLETE, State.COMPLETE)


def test_a_store_of_another_version_is_refused(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(toy(), results, client)
    monkeypatch.setattr(ToySimulation, "version", 2)
    with pytest.raises(
        ClhdError, match=r"was computed with version 1 of the simulation, this clhd has version 2; .*--fresh"
    ):
        simulate(toy(), results, client)


@pytest.mark.parametrize(
    ("weights", "more", "is_refused"),
    [
        (None, None, True),
        ([2, 3], [2, 3, 4], False),
        ([1, 2], [1, 2, 3], True),  # the old default: the point was one without a weight
        ([2, 5], [2, 3, 5], True),  # the new one: the point would be one without a weight
        ([2, 3], [2, 3, 5], True),
    ],
)
def test_another_default_is_refused_where_a_point_has_had_or_would_have_the_default(
    toy: MakeExperiment,
    results: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    weights: list[int] | None,
    more: list[int] | None,
    is_refused: bool,
) -> None:
    def ask(values: list[int] | None, sizes: list[int]) -> Experiment:
        axes = {"slope": [0, 1]} if values is None else {"slope": [0, 1], "weight": values}
        return toy(axes={**axes, "size": sizes})

    simulate(ask(weights, [4]), results, client)
    other = {**ToySystem.parameters, "weight": replace(ToySystem.parameters["weight"], default=5.0)}
    monkeypatch.setattr(ToySystem, "parameters", other)
    if not is_refused:
        assert simulate(ask(more, [4]), results, client).computed == 2 * 4
        return
    with pytest.raises(ClhdError, match=r"when the default of weight was 1\.0, and now it is 5\.0; .*--fresh"):
        simulate(ask(more, [4, 5]), results, client)


def test_another_output_is_refused_with_the_names_of_the_old_ones(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(toy(), results, client)
    height = ToySimulation().outputs({})
    more = replace(height, variables={**height.variables, "depth": height.variables["height"]})
    monkeypatch.setattr(ToySimulation, "outputs", lambda self, constants: more)
    with pytest.raises(ClhdError, match=r"with the outputs height; the system now has height, depth; .*--fresh"):
        simulate(toy(), results, client)


def test_a_second_run_at_the_same_time_is_refused(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    lock = results / "toy" / ".simulation.lock"
    program = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX);"
        'f.write(\'{"process": 123, "host": "elsewhere", "since": "noon"}\'); f.flush();'
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ClhdError, match="is being written by process 123 on elsewhere since noon"):
            simulate(toy(), results, client)
        holder.kill()
    assert simulate(toy(), results, client).computed == 0


@pytest.mark.parametrize("name", ["height", "status"])
def test_a_damaged_chunk_is_named_never_averaged_in_and_repaired(
    toy: MakeExperiment, results: Path, client: Client, name: str
) -> None:
    run_experiment(toy(), client, results=results)
    before = heights(results)
    path = sorted(file for file in (results / "toy" / "simulation.zarr" / name / "c").rglob("*") if file.is_file())[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ClhdError,
        match=rf"{path}: is damaged, or another file stands in its place; `clhd run FILE --repair` recomputes it",
    ):
        write_summary(toy(), results)
    report = simulate(toy(), results, client, repair=True)
    assert 0 < report.computed < 32
    assert_same_bits(before, heights(results))
    write_summary(toy(), results)


def test_a_growth_that_was_killed_anywhere_is_begun_again(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(toy(), results, client)
    before = heights(results)
    for last in range(12):
        with killed_at(monkeypatch, "rename", last), pytest.raises(Killed):
            simulate(toy(axes={"slope": [-1, 0, 1, 2, 3], "size": [4, 16]}), results, client)
        assert_same_bits(before, heights(results))
    assert simulate(toy(), results, client).computed == 0
    assert_same_bits(before, heights(results))
    assert sorted(path.name for path in (results / "toy").iterdir()) == [
        ".simulation.lock",
        ".simulation.writing",
        "simulation.zarr",
    ]
