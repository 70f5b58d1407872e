"""Refinement: the points that are wanted follow a border, whatever computes them and whenever it stops."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from clhd.errors import ClhdError
from clhd.sweep.plan.refine import choose_points, fill_between, find_labels, find_sides
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.border import find_crossings
from clhd.sweep.results.status import describe_status
from clhd.sweep.run.needs import format_plan, plan_stages
from clhd.sweep.run.run_stage import StageReport, run_stage
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.rounds import halve, predict_points
from tests.clients import open_threads
from tests.sweep.conftest import Killed, MakeExperiment

FloatArray = np.typing.NDArray[np.float64]
# The theory of the toy is lift + slope * time: at time 2 it crosses 1.5 on a line.
LINE = {"quantity": "height_theory", "select": {"time": 2}, "level": 1.5, "along": ["lift", "slope"], "rounds": 3}
PLANE = {"slope": {"start": 0, "stop": 1, "count": 4}, "lift": {"start": 0, "stop": 1, "count": 5}}


def make_plane(rounds: int, count: int = 9) -> tuple[FloatArray, FloatArray]:
    places = np.linspace(-1, 1, (count - 1) * 2**rounds + 1)
    first, second = np.meshgrid(places, places, indexing="ij")
    return first, second


def choose_all(values: FloatArray, rounds: int, level: float = 0.0) -> np.typing.NDArray[np.bool_]:
    sides = find_sides(values, np.zeros_like(values), level, 2)
    return choose_points(sides, np.ones(values.shape, dtype=bool), (0, 1), rounds).wanted


FIELDS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.6,
    "line": lambda x, y: x - 0.3 * y - 0.11,
    "eight": lambda x, y: (x**2 + y**2) ** 2 - 0.7 * (x**2 - y**2) + 0.02,
}


@pytest.mark.parametrize("name", FIELDS)
def test_few_points_give_every_side_of_a_border(name: str) -> None:
    values = FIELDS[name](*make_plane(4))
    wanted = choose_all(values, 4)
    labels = fill_between(np.where(wanted, np.sign(values), np.nan), (0, 1), 4, is_label=True)
    assert np.array_equal(labels, np.sign(values))
    assert wanted.mean() < 0.12
    assert wanted.sum() <= 1.2 * predict_points((9, 9), 4)


def test_cost_is_that_of_a_perimeter() -> None:
    counts = [choose_all(FIELDS["circle"](*make_plane(rounds)), rounds).sum() for rounds in (3, 4, 5, 6)]
    growth = np.diff(np.log2(np.diff(counts)))
    assert np.all(abs(growth - 1) < 0.2)  # twice the points for half the spacing; of an area it would be four times


def test_points_are_the_same_in_whatever_order_they_become_known() -> None:
    values = FIELDS["eight"](*make_plane(4))
    expected, random = choose_all(values, 4), np.random.default_rng(3)
    known = np.zeros(values.shape, dtype=bool)
    while True:
        sides = find_sides(np.where(known, values, np.nan), np.zeros_like(values), 0.0, 2)
        choice = choose_points(sides, known, (0, 1), 4)
        assert not (choice.wanted & ~expected).any()
        if choice.is_done:
            break
        known |= choice.wanted & (random.random(values.shape) < 0.5)
    assert np.array_equal(choice.wanted, expected)


def test_a_border_is_followed_into_cells_whose_corners_do_not_show_it() -> None:
    first, second = make_plane(4, 3)
    finger = np.maximum(abs(second - 0.3) - 0.15, -0.7 - first)  # passes between the coarse points
    values = np.minimum(finger, 0.8 - first)
    wanted = choose_all(values, 4)
    labels = fill_between(np.where(wanted, np.sign(values), np.nan), (0, 1), 4, is_label=True)
    assert np.array_equal(labels, np.sign(values))


def test_points_that_are_not_wanted_play_no_part() -> None:
    values = FIELDS["line"](*make_plane(3))
    wanted = choose_all(values, 3)
    other = np.where(wanted, values, -values)
    assert np.array_equal(choose_all(other, 3), wanted)


def test_labels_differ_where_regions_meet() -> None:
    first, second = make_plane(4)
    labels = np.select([first + second < -0.4, np.hypot(first - 0.5, second - 0.5) < 0.4], [2.0, -1.0], 7.0)
    choice = choose_points(find_labels(labels), np.ones(labels.shape, dtype=bool), (0, 1), 4)
    assert choice.wanted.mean() < 0.1
    filled = fill_between(np.where(choice.wanted, labels, np.nan), (0, 1), 4, is_label=True)
    assert np.array_equal(filled, labels)


def test_an_axis_that_is_not_refined_is_complete_and_apart() -> None:
    first, second = make_plane(3)
    values = np.stack([first - 0.1, second + 0.3, first * 0 + 1], axis=1)
    sides = find_sides(values, np.zeros_like(values), 0.0, 2)
    choice = choose_points(sides, np.ones(values.shape, dtype=bool), (0, 2), 3)
    for k in range(3):
        assert np.array_equal(choice.wanted[:, k], choose_all(values[:, k], 3))
    assert choice.wanted[:, 2].sum() == 81


def test_an_open_side_is_a_reason_to_look_closer() -> None:
    places, known = np.linspace(-1, 1, 33), np.ones(33, dtype=bool)
    sides = find_sides(places - 0.04, np.full(33, 0.05), 0.0, 1)
    choice = choose_points(sides, known, (0,), 3)
    exact = choose_points(find_sides(places - 0.04, np.zeros(33), 0.0, 1), known, (0,), 3)
    assert exact.wanted.sum() == 5 + 3
    assert choice.wanted.sum() > exact.wanted.sum()  # 0 is open, so both of its neighbours are looked at


def test_where_noise_dominates_the_spacing_is_kept() -> None:
    places, known = np.linspace(-1, 1, 129), np.ones(129, dtype=bool)
    counts = []
    for error in (0.0, 0.01, 0.1, 1.0):  # z = 2.24: of spacings 0.5, 0.25, ... those above 0, 0.02, 0.2 and 2.2
        choice = choose_points(find_sides(places - 0.04, np.full(129, error), 0.0, 1), known, (0,), 5)
        counts.append(int(choice.round.max()))
        assert choice.is_done
    assert counts == [5, 5, 2, 0]


def test_values_of_fewer_rounds_are_among_those_of_more() -> None:
    for values in (np.linspace(0.1, 1, 10), np.geomspace(1e-3, 7, 5), np.array([0.0, 0.1, 5])):
        few, many = halve(values, 3), halve(values, 7)
        assert set(values) <= set(few) <= set(many)
        assert many == sorted(many)
    assert halve(np.array([1.0, 10, 100]), 1) == pytest.approx([1, 10**0.5, 10, 10**1.5, 100])


def test_interval_of_a_crossing_holds_spacing_and_noise() -> None:
    places = np.linspace(0, 1, 11)
    (exact,) = find_crossings(places, places - 0.44, np.zeros(11), 0.0, 1)
    assert exact == pytest.approx([0.44, 0.4, 0.5])
    (noisy,) = find_crossings(places, places - 0.44, np.full(11, 0.05), 0.0, 1)
    assert noisy == pytest.approx([0.44, 0.3, 0.6])  # z = 2.24: points nearer than 0.112 are open
    assert len(find_crossings(places, abs(places - 0.44) - 0.2, np.zeros(11), 0.0, 1)) == 2
    assert len(find_crossings(places, places + 1, np.zeros(11), 0.0, 1)) == 0


@pytest.mark.parametrize("runs", [np.inf, 4])
def test_interval_holds_the_border_of_a_noisy_line_as_often_as_it_says(runs: float) -> None:
    random, places = np.random.default_rng(14), np.linspace(0, 1, 65)
    held = []
    for _ in range(2000):
        border = random.uniform(0.3, 0.7)
        values = places - border + random.normal(0, 0.03, places.shape)
        errors = np.full(65, 0.03)
        if np.isfinite(runs):  # then the errors are known from the runs alone
            errors *= np.sqrt(random.chisquare(runs - 1, places.shape) / (runs - 1))
        found = find_crossings(places, values, errors, 0.0, 2, runs)
        held.append(any(low <= border <= high for _, low, high in found))
    assert np.mean(held) >= 0.95 - 3 * (0.95 * 0.05 / 2000) ** 0.5


@pytest.mark.parametrize(("runs", "dims"), [(2, 1), (4, 2), (256, 3)])
def test_corners_of_a_cell_on_the_level_stay_open_together_as_often_as_they_say(runs: int, dims: int) -> None:
    values = np.random.default_rng(3).standard_normal((runs, 20_000, 2**dims))
    sides = find_sides(values.mean(axis=0), values.std(axis=0, ddof=1) / runs**0.5, 0.0, dims, float(runs))
    # The standard error of the share is 0.0015. With normal intervals it is 0.53 of two corners with two runs each.
    share = np.mean((sides.low < sides.high).all(axis=-1))
    assert share == pytest.approx((1 - 0.05 / 2**dims) ** 2**dims, abs=0.006)


def predict(experiment: Experiment, results: Path, client: Client, **options: Any) -> StageReport:
    report = run_stage(experiment, "theory", results, client=client, **options)
    assert report is not None
    return report


def summarise(experiment: Experiment, results: Path, client: Client) -> xr.Dataset:
    run_experiment(experiment, client, results=results)
    with xr.open_zarr(str(results / "toy" / "summary.zarr")) as opened:
        summary: xr.Dataset = opened.load()
        return summary


def read_theory(results: Path) -> xr.Dataset:
    with xr.open_zarr(str(results / "toy" / "theory.zarr")) as opened:
        stored: xr.Dataset = opened[["height", "status"]].load()
        return stored


@pytest.fixture
def plane(toy: MakeExperiment) -> Experiment:
    return toy(axes=PLANE, constants={"simulation": "none"}, replicas=None, refine=LINE)


def test_border_of_a_run_is_the_exact_one(plane: Experiment, results: Path, client: Client) -> None:
    summary = summarise(plane, results, client)
    assert summary["border"].dims == ("slope", "feature", "crossing")[::2]
    border, low, high = (summary[name][:, 0].values for name in ("border", "border_low", "border_high"))
    exact = 1.5 - 2 * summary["slope"].values
    inside = (exact > 0.01) & (exact < 0.99)  # at an end of the axis, no point beyond the border is known
    assert inside.sum() == 11
    np.testing.assert_allclose(border[inside], exact[inside], atol=1e-12)
    assert np.all((low <= exact)[inside] & (exact <= high)[inside])
    assert np.all((high - low)[inside] <= 2 / 32 + 1e-12)
    assert np.isnan(border[exact < -0.04]).all()
    assert np.isnan(border[exact > 1.04]).all()


def test_a_point_that_is_not_wanted_costs_no_file_and_is_no_result(
    plane: Experiment, results: Path, client: Client
) -> None:
    report = predict(plane, results, client)
    stored = read_theory(results)
    is_run = stored["status"].values != 0
    assert report.computed == is_run.sum() < 0.45 * is_run.size
    assert np.isnan(stored["height"].values[~is_run]).all()
    status = describe_status(plane, results)["theory"]
    assert (status["state"], status["wanted"], status["ok"]) == ("complete", is_run.sum(), is_run.sum())
    assert status["not_wanted"] == is_run.size - is_run.sum()
    assert predict(plane, results, client).computed == 0


def test_points_and_bits_are_the_same_after_a_kill_at_every_round(
    plane: Experiment, results: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(plane, tmp_path / "whole", client)
    whole = read_theory(tmp_path / "whole")
    from clhd.sweep.run import run_stage as module  # noqa: PLC0415

    original = module.execute_plan

    def execute_half(store: Any, stage: Any, plan: Any, *rest: Any) -> int:
        half = plan.blocks[: len(plan.blocks) // 2]
        if half:
            original(store, stage, replace(plan, blocks=half), *rest)
        raise Killed

    monkeypatch.setattr(module, "execute_plan", execute_half)
    for _ in range(9):
        with pytest.raises(Killed):
            predict(plane, results, client)
        assert describe_status(plane, results)["theory"]["state"] == "pending"
    monkeypatch.undo()
    predict(plane, results, client)
    again = read_theory(results)
    for name in ("height", "status"):
        assert again[name].values.tobytes() == whole[name].values.tobytes()


def test_points_and_bits_are_the_same_for_one_worker_and_for_four(plane: Experiment, results: Path) -> None:
    stored = []
    for workers in (1, 4):
        with open_threads(workers) as client:
            predict(plane, results / str(workers), client)
        stored.append(read_theory(results / str(workers)))
    for name in ("height", "status"):
        assert stored[0][name].values.tobytes() == stored[1][name].values.tobytes()


def test_another_axis_grows_and_rounds_are_added(toy: MakeExperiment, results: Path, client: Client) -> None:
    def make(weights: list[float], rounds: int) -> Experiment:
        axes = {**PLANE, "weight": weights}
        refine = {**LINE, "rounds": rounds}
        return toy(axes=axes, constants={"simulation": "none"}, replicas=None, refine=refine)

    first = predict(make([1], 2), results, client).computed
    assert predict(make([1, 2], 2), results, client).computed == first
    more = predict(make([1, 2], 3), results, client).computed
    assert more > 0
    alone = predict(make([1, 2], 3), results / "alone", client).computed
    assert alone == 2 * first + more
    assert predict(make([1], 2), results, client).computed == 0  # what was not asked for is left out


def test_simulation_decides_and_the_theory_follows(toy: MakeExperiment, results: Path, client: Client) -> None:
    refine = {"quantity": "height_mean", "select": {"time": 2}, "level": 0.83, "along": ["slope"], "rounds": 3}
    axes = {"slope": {"start": 0, "stop": 1, "count": 5}, "size": [10**6, 10**8]}
    experiment = toy(axes=axes, replicas=8, refine=refine)
    summary = summarise(experiment, results, client)
    chosen = (summary["refinement_round"] >= 0).values
    assert np.all((chosen.sum(axis=0) >= 8) & (chosen.sum(axis=0) < 14))
    assert np.array_equal(np.isfinite(summary["height_mean"].values[..., 0, 0]), chosen)
    assert np.array_equal((summary["theory_status"] != 0).values, chosen.any(axis=1))
    low, high = (summary[f"border_{end}"][:, 0].values for end in ("low", "high"))
    assert np.all((low <= 0.415) & (high >= 0.415))
    assert describe_status(experiment, results)["complete"]


def test_stage_that_follows_waits_for_the_one_that_decides(toy: MakeExperiment, results: Path, client: Client) -> None:
    refine = {"quantity": "height_mean", "select": {"time": 2}, "level": 0.83, "along": ["slope"], "rounds": 3}
    experiment = toy(axes={"slope": {"start": 0, "stop": 1, "count": 5}}, replicas=8, refine=refine)
    with pytest.raises(ClhdError, match=r"simulation.zarr: does not exist, and its results decide"):
        predict(experiment, results, client)


def test_level_inside_nowhere_is_said_in_one_line(plane: Experiment, results: Path, client: Client) -> None:
    nowhere = plane.model_copy(update={"refine": plane.refine and plane.refine.model_copy(update={"level": 99.0})})
    with pytest.raises(ClhdError, match=r"toy: refine.level = 99.0: height_theory lies between 0 and 3 on the coarse"):
        predict(nowhere, results, client)
    assert (read_theory(results)["status"] != 0).sum() == 20


def test_too_many_points_are_refused_before_they_are_computed(plane: Experiment, results: Path, client: Client) -> None:
    assert plane.refine is not None
    few = plane.model_copy(update={"refine": plane.refine.model_copy(update={"most_points": 60})})
    with pytest.raises(ClhdError, match=r"toy: refine.most_points = 60: 93 points are wanted in round 2; allow more"):
        predict(few, results, client)
    assert (read_theory(results)["status"] != 0).sum() == 45


def test_a_plan_predicts_the_cost_and_shows_how_far_it_is(plane: Experiment, results: Path, client: Client) -> None:
    stages = [Stage(plane, "theory")]
    before = plan_stages(stages, results, 2)["theory"]
    computed = predict(plane, results, client).computed
    after = plan_stages(stages, results, 2)["theory"]
    assert computed < before["points"] < 2 * computed  # the border is shorter than one that crosses the grid
    assert before["left"]["runs"] == before["points"]
    assert (after["points"], after["left"]["runs"], after["refined"]["rounds"]) == (computed, 0, 3)
    assert f"about {computed} of 825 points; {computed} wanted so far, in 3 of 3 rounds" in format_plan("toy", {
        "theory": after
    })  # fmt: skip


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no_variable": ({"quantity": "heigth_theory"}, "quantity = 'heigth_theory': must be one of height_theory, "),
    "no_statistic": ({"quantity": "height"}, "quantity = 'height': must be a variable of the summary"),
    "no_simulation": ({"quantity": "height_mean"}, "quantity = 'height_mean': must be one of those of a simulation"),
    "place_is_open": ({"select": {}}, "select.time: must be given, for height_theory has 3 values of it"),
    "no_such_place": ({"select": {"time": 7}}, "select.time = 7: must be one of 0, 1 and 2"),
    "no_such_dim": ({"select": {"time": 2, "x": 1}}, "select.x: is no dim of height_theory; its dims are time and"),
    "no_level": ({"level": "high"}, "level = 'high': must be a number, or label"),
    "no_axis": ({"along": ["mass"]}, "along = 'mass': must be axes; they are slope, lift and colour"),
    "no_rounds": ({"rounds": 0}, "rounds = 0: must be a whole number from 1 to 12"),
    "too_many": ({"most_points": 50}, "most_points = 50: 3 rounds are predicted to need about "),
    "unknown": ({"levle": 3}, "unknown key 'refine.levle'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line(name: str, toy: MakeExperiment) -> None:
    change, message = MISTAKES[name]
    axes = {**PLANE, "colour": ["blue", "red"]}
    with pytest.raises(ClhdError) as caught:
        toy(axes=axes, constants={"simulation": "none"}, replicas=None, refine={**LINE, **change})
    assert len(str(caught.value).splitlines()) == 1
    assert message in str(caught.value)


@pytest.mark.parametrize(("along", "message"), [("colour", "has words"), ("size", "whole numbers")])
def test_only_numbers_are_refined(along: str, message: str, toy: MakeExperiment) -> None:
    axes = {"slope": [0, 1], "colour": ["blue", "red"], "size": [1, 9]}
    with pytest.raises(ClhdError, match=rf"{message}"):
        toy(axes=axes, replicas=8, refine={**LINE, "quantity": "height_mean", "along": [along]})


def test_a_simulation_that_decides_has_errors_or_a_label(toy: MakeExperiment) -> None:
    by_mean = {**LINE, "quantity": "height_mean", "along": ["slope"]}
    axes = {"slope": {"start": 0, "stop": 1, "count": 4}}
    with pytest.raises(ClhdError, match=r"refine.quantity = 'height_mean': needs two or more replicas"):
        toy(axes=axes, replicas=1, refine=by_mean)
    with pytest.raises(ClhdError, match=r"refine.level = 'label': the mean over 8 replicas is no label"):
        toy(axes=axes, replicas=8, refine={**by_mean, "level": "label"})
    assert toy(axes=axes, replicas=1, refine={**by_mean, "level": "label"}).refine


def test_resolved_experiment_is_read_back(plane: Experiment) -> None:
    assert parse_experiment(plane.resolved()) == plane
    assert parse_experiment(plane.resolved(), check=False).axes == plane.axes
    assert isinstance(plane.axes[0], Axis)
    assert len(plane.axes[0]) == 25
