"""A refinement that adds replicas where the noise hides the border, and a margin for labels with thin regions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from clhd.core.arrays import BoolArray, FloatArray, IntArray
from clhd.errors import ClhdError
from clhd.figures.caption import describe_points
from clhd.sweep.plan.refine import LABEL_MARGIN, Choice, Sides, choose_points, fill_between, find_labels, find_sides
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.border import find_crossings
from clhd.sweep.results.status import describe_status
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.run import run_stage as run_stage_module
from clhd.sweep.run.needs import plan_stages
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.store import Store
from tests.sweep.conftest import Killed, MakeExperiment

PLACES = np.linspace(-1, 1, 129)


def look(values: FloatArray, error: float) -> Sides:
    return find_sides(values, np.full(values.shape, error), 0.0, 1)


def choose(values: FloatArray, errors: list[float], known: list[BoolArray] | None = None) -> Choice:
    known = known or [np.ones(values.shape, dtype=bool)] * len(errors)
    first, *others = [(look(values, error), is_known) for error, is_known in zip(errors, known, strict=True)]
    return choose_points(*first, (0,), 5, doubled=others)


def test_points_whose_error_exceeds_the_spacing_get_more_replicas() -> None:
    choice = choose(PLACES - 0.04, [0.3, 0.15, 0.03])
    assert choice.is_done
    # z = 2.24: within 0.67 of the level a side is open at first, within 0.34 with half the error. So the ends are
    # decided at once, their neighbours by the second error; the point next to the border has 0.03 in the end, which is
    # still more than the last spacing.
    assert choice.doublings[[0, 32, 64, 96, 128]].tolist() == [0, 1, 2, 1, 0]
    assert choice.round.max() > choose(PLACES - 0.04, [0.3]).round.max()
    assert choice.doublings[choice.round < 0].max() == 0


def test_replicas_are_not_added_where_the_spacing_dominates() -> None:
    choice = choose(PLACES - 0.04, [0.001, 0.0005])  # the last spacing is 0.016
    assert choice.doublings.max() == 0
    assert choice.round.max() == 5


def test_choice_is_the_same_in_whatever_order_points_and_replicas_become_known() -> None:
    errors, random = [0.2, 0.1, 0.05, 0.02], np.random.default_rng(5)
    whole = choose(PLACES - 0.04, errors)
    known = [np.zeros(PLACES.shape, dtype=bool) for _ in errors]
    while not (choice := choose(PLACES - 0.04, errors, known)).is_done:
        assert not (choice.wanted & ~whole.wanted).any()
        assert (choice.doublings <= whole.doublings).all()
        for number, is_known in enumerate(known):
            known[number] = is_known | choice.wanted & (choice.doublings >= number) & (
                random.random(PLACES.shape) < 0.5
            )
    assert np.array_equal(choice.round, whole.round)
    assert np.array_equal(choice.doublings, whole.doublings)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_not_known_plays_no_part_in_the_choice(seed: int) -> None:
    # Points have half of their replicas before they are known. A decision that looked at these, and at others later,
    # would have had points computed that are not wanted in the end.
    random = np.random.default_rng(seed)
    axis, error = np.linspace(-1, 1, 33), np.full((33, 33), 0.1)
    whole = axis[:, None] + 0.3 * axis - 0.04 + error * random.normal(size=error.shape)
    half = whole + error * random.normal(size=error.shape)
    known = np.zeros(whole.shape, dtype=bool)
    while not (
        choice := choose_points(find_sides(np.where(known, whole, half), error, 0.0, 2), known, (0, 1), 3)
    ).is_done:
        known |= choice.wanted
    assert np.array_equal(choice.wanted, known)
    assert choice.round.max() > 1


def test_a_margin_follows_a_tongue_that_no_corner_shows() -> None:
    row, column = np.indices((8 * 16 + 1, 8 * 16 + 1))
    tongue = (column == np.round(61 + 20 * np.sin(row / 9))) & (row < 100)
    labels = np.where((row < 20) | tongue, 1.0, 2.0)
    wrong, shares = [], []
    for margin in (0, LABEL_MARGIN):
        choice = choose_points(find_labels(labels), np.ones(labels.shape, dtype=bool), (0, 1), 4, margin=margin)
        filled = fill_between(np.where(choice.wanted, labels, np.nan), (0, 1), 4, is_label=True)
        wrong.append(int((filled != labels).sum()))
        shares.append(choice.wanted.mean())
    assert wrong[0] > 0
    assert wrong[1] == 0
    assert shares[0] < shares[1] < 0.4


@pytest.fixture
def noisy(toy: MakeExperiment) -> MakeExperiment:
    """The toy, whose height at time 2 crosses 0.83 at the slope 0.415; one replica has the deviation 1/4."""

    def make(**changes: Any) -> Experiment:
        refine = {"quantity": "height_mean", "select": {"time": 2}, "level": 0.83, "along": ["slope"], "rounds": 3}
        axes = {"slope": {"start": 0, "stop": 1, "count": 5}, "size": [16]}
        return toy(**{"axes": axes, "replicas": {"start": 4, "most": 32}, "refine": refine} | changes)

    return make


def simulate(experiment: Experiment, results: Path, client: Client) -> int:
    report = run_stage(experiment, "simulation", results, client=client)
    assert report is not None
    return report.computed


def read(results: Path) -> tuple[bytes, IntArray]:
    store = Store(results / "toy" / "simulation.zarr")
    return store.read("height").tobytes(), (store.status() != 0).sum(axis=-1)[:, 0]


def test_a_run_adds_replicas_around_the_border_alone(noisy: MakeExperiment, results: Path, client: Client) -> None:
    experiment = noisy()
    tree = run_experiment(experiment, client, results=results)
    _, computed = read(results)
    assert (computed[0], computed[-1], computed.max()) == (4, 4, 32)
    assert set(computed.tolist()) <= {0, 4, 8, 16, 32}
    summary, values = tree["summary"].to_dataset(), tree["simulation"].to_dataset()["height"].values
    assert np.array_equal(summary["replica_count"].sel(status="ok").values[:, 0], computed)
    assert np.array_equal(summary["refinement_round"].values[:, 0] >= 0, computed > 0)
    for k in np.flatnonzero(computed):
        used = values[k, 0, : computed[k], 2, 0].mean()
        np.testing.assert_allclose(summary["height_mean"].values[k, 0, 2, 0], used, rtol=1e-13)
    assert float(summary["border_low"].min()) <= 0.415 <= float(summary["border_high"].max())
    mean, error = (summary[f"height_{name}"].values[:, 0, 2, 0] for name in ("mean", "standard_error"))
    expected = find_crossings(summary["slope"].values, mean, error, 0.83, 1, computed)
    borders = [summary[f"border{end}"].values.ravel() for end in ("", "_low", "_high")]
    np.testing.assert_array_equal(np.stack(borders, axis=-1), expected)
    assert f"{(computed > 0).sum()} points with 4 to 32 replicas each" in describe_points(
        read_summary(results / "toy" / "summary.zarr")
    )
    status = describe_status(experiment, results)["simulation"]
    assert (status["state"], status["wanted"]) == ("complete", computed.sum())
    assert status["not_wanted"] == computed.size * 32 - computed.sum()
    assert plan_stages([Stage(experiment, "simulation")], results, 1)["simulation"]["left"]["runs"] == 0
    assert simulate(experiment, results, client) == 0


def test_points_replicas_and_bits_are_the_same_after_kills_and_in_a_fuller_store(
    noisy: MakeExperiment, results: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(noisy(), tmp_path / "whole", client)
    original = run_stage_module.execute_plan

    def execute_and_die(*arguments: Any) -> int:
        original(*arguments)
        raise Killed

    kills = 0
    with monkeypatch.context() as patch:
        patch.setattr(run_stage_module, "execute_plan", execute_and_die)
        while describe_status(noisy(), results)["simulation"]["state"] != "complete":
            with pytest.raises(Killed):
                simulate(noisy(), results, client)
            kills += 1
    assert kills > 4
    assert read(results)[0] == read(tmp_path / "whole")[0]
    used = read(results)[1]
    # Whatever the store holds besides, the same is wanted of it.
    simulate(noisy(replicas=32), results, client)
    assert describe_status(noisy(), results)["simulation"]["wanted"] == used.sum()
    assert simulate(noisy(), results, client) == 0


def test_noise_that_hides_the_border_is_told(noisy: MakeExperiment, results: Path, client: Client) -> None:
    axes = {"slope": {"start": 0.38, "stop": 0.45, "count": 4}, "size": [1]}
    with pytest.raises(
        ClhdError, match=r"refine.level = 0.83: on the coarse grid, the noise of height_mean hides where"
    ):
        simulate(noisy(axes=axes, replicas=8), results, client)
