"""A system written as plain functions: its streams, its keys, and a bad run that harms no other."""

import pickle
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest

import clhd
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.systems.check import ResultError
from clhd.systems.mistakes import list_mistakes
from clhd.systems.registry import list_systems

TIME = np.array([1.0, 2.0])
GENERATED = [1844412449, 2997852790, 1426568705]  # the first numbers of a generator


def words(name: str) -> dict[str, str]:
    return clhd.describe(name)


class Walk(clhd.System):
    """x = start + push * time + noise; each feature has a push of its own."""

    title, size, components = "walk", "size", "features"
    parameters = {
        "features": clhd.Parameter(kind="count", default=1, minimum=1, meaning="features", can_vary=False),
        "push": clhd.Parameter(kind="number", default=0.0, meaning="push", per_component=True),
        "size": clhd.Parameter(kind="count", default=None, minimum=1, meaning="size", in_theory=False),
        "lift": clhd.Parameter(kind="number", default=0.0, meaning="lift of the theory", in_simulation=False),
    }
    outputs = {"x": clhd.Output(dims=("time", "feature"), words=words("x"))}

    def check(self, values: Any) -> None:
        if max(values.push) > 5:
            raise clhd.ClhdError(f"push = {max(values.push)!r}: must be at most 5")
        if values.size > 1000:
            raise clhd.ClhdError(f"size = {values.size!r}: must be at most 1000")

    def coordinates(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"feature": (range(1, values["features"] + 1), words("feature")), "unused": ([1], words("unused"))}

    def simulate(self, values: Any, time: Any, random: np.random.Generator) -> Mapping[str, Any]:
        noise = random.normal(size=(time.size, values.features)) / np.sqrt(values.size)
        return {"x": np.array(values.push) * time[:, None] + noise}

    def predict(self, values: Any, time: Any) -> Mapping[str, Any]:
        return {"x": values.lift + np.array(values.push) * time[:, None]}


def answer(**changes: Any) -> type[clhd.System]:
    """A system whose run is what `changes` say; the run of replica 1 raises what ``error`` says."""

    class Answer(clhd.System):
        parameters = {"a": clhd.Parameter(kind="number", default=0.0, meaning="a")}
        outputs = {
            "x": clhd.Output(dims=("time",), words=words("x")),
            "y": clhd.Output(dims=(), words=words("y"), may_be_nan=True),
        }

        def simulate(self, values: Any, time: Any, random: np.random.Generator) -> Any:
            if changes.get("whole", "no") != "no":
                return changes["whole"]
            if "error" in changes and random.random() < 0.5:
                raise changes["error"]
            return {"x": time, "y": 1.0} | changes.get("values", {})

    return Answer


def run(kind: type[clhd.System], replicas: int = 1, **values: Any) -> clhd.Result:
    half = kind().simulation
    return half.compute([half.point(values, 0)], TIME, range(replicas))


def test_a_generator_depends_on_its_key_and_replica_alone() -> None:
    first = clhd.generator("a key", 3).normal(size=5)
    assert np.array_equal(first, clhd.generator("a key", 3).normal(size=5))
    others = [clhd.generator(key, replica).normal(size=5) for key, replica in (("a key", 4), ("another", 3))]
    assert not any(np.isin(first, other).any() for other in others)
    # Bits of results on disk rest on these.
    assert clhd.generator("clhd", 0).integers(2**32, size=3).tolist() == GENERATED


def test_results_do_not_depend_on_what_is_computed_beside_them() -> None:
    half = Walk().simulation
    points = [half.point({"push": push, "size": 9}, 7) for push in (0.0, 1.0, 2.0)]
    together = half.compute(points, TIME, range(6))
    alone = half.compute([points[1]], TIME, [4])
    assert together.values["x"][1, 4].tobytes() == alone.values["x"][0, 0].tobytes()
    assert together.values["x"].shape == (3, 6, 2, 1)


def test_the_key_names_what_differs_from_the_defaults() -> None:
    half = Walk().simulation
    assert half.point({"size": 9}, 7).key == "Walk|size=9|seed=7"
    assert half.point({"size": 9, "push": 0.0, "features": 1}, 7).key == "Walk|size=9|seed=7"
    assert half.point({"size": 9, "push": 0.1}, 7).key == f"Walk|push=({(0.1).hex()})|size=9|seed=7"
    both = f"Walk|features=2|push=({(0.1).hex()},{(0.1).hex()})|size=9|seed=7"
    assert half.point({"size": 9, "features": 2, "push": 0.1}, 7).key == both
    assert half.point({"size": 9, "features": 2, "push_1": 0.1, "push_2": 0.1}, 7).key == both
    # A parameter of the theory alone leaves the runs as they are.
    assert half.point({"size": 9, "lift": 3.0}, 7).key == "Walk|size=9|seed=7"


def test_a_parameter_without_a_default_must_be_given() -> None:
    with pytest.raises(clhd.ClhdError, match=r"^size: must be given, as a constant or an axis$"):
        Walk().simulation.point({}, 0)
    Walk().theory.point({}, 0)  # which does not depend on it


def test_components_are_counted_by_the_default_where_nothing_is_given() -> None:
    class Two(Walk):
        parameters = Walk.parameters | {
            "features": clhd.Parameter(kind="count", default=2, minimum=1, meaning="features", can_vary=False)
        }

    assert Two().find_parameter("push_2", {}).meaning == "push"
    with pytest.raises(clhd.ClhdError, match=r"^push_3: there is no feature 3, because features = 2$"):
        Two().find_parameter("push_3", {})
    assert Two().find_parameter("push_3", {"features": 3}).meaning == "push"


def test_a_check_ends_where_the_other_half_goes_on() -> None:
    system = Walk()
    with pytest.raises(clhd.ClhdError, match=r"^push = 6\.0: must be at most 5$"):
        system.theory.point({"push": 6.0}, 0)
    with pytest.raises(clhd.ClhdError, match=r"^size = 2000: must be at most 1000$"):
        system.simulation.point({"size": 2000}, 0)
    system.theory.point({"push": 2.0}, 0)


def test_what_a_small_function_raises_is_one_line() -> None:
    class Wrong(Walk):
        def check(self, values: Any) -> None:
            raise ZeroDivisionError("oh\nno")

        def coordinates(self, values: Any) -> Any:
            return values["nothing"]

        def estimate_seconds(self, values: Any, time: Any) -> float:
            return -1.0

    half = Wrong().simulation
    with pytest.raises(clhd.ClhdError, match=r"^system Wrong, check: ZeroDivisionError: oh"):
        half.point({"size": 1}, 0)
    with pytest.raises(clhd.ClhdError, match=r"^system Wrong, coordinates: KeyError: 'nothing'"):
        half.outputs({})
    with pytest.raises(clhd.ClhdError, match="estimate_seconds: returned -1; it must be greater than 0"):
        half.cost(Walk().simulation.point({"size": 1}, 0), TIME)


def test_a_dim_without_coordinates_is_told() -> None:
    class Wrong(Walk):
        def coordinates(self, values: Any) -> Any:
            return {}

    with pytest.raises(clhd.ClhdError, match=r"^system Wrong, coordinates: lacks the dim feature of the output x$"):
        Wrong().simulation.outputs({})


@pytest.mark.parametrize(
    "entry",
    [[1, 2], 3, ([], {}), (["a", "a"], {}), (["a", 1], {}), ([1, np.nan], {}), ([[1]], {}), ("ab", {}), ([1], "one")],
    ids=str,
)
def test_coordinates_that_label_nothing_are_told(entry: Any) -> None:
    class Wrong(Walk):
        def coordinates(self, values: Any) -> Any:
            return {"feature": entry}

    with pytest.raises(clhd.ClhdError, match=r"^system Wrong, coordinates: feature = .*: must be a pair of values and"):
        Wrong().simulation.outputs({})


@pytest.mark.parametrize("place", [lambda push: range(int(push) + 1), lambda push: [push]], ids=["number", "values"])
def test_coordinates_that_depend_on_an_axis_are_refused(monkeypatch: pytest.MonkeyPatch, place: Any) -> None:
    class Moving(Walk):
        def coordinates(self, values: Any) -> Any:
            return {"feature": (place(values["push"][0]), words("feature"))}

    monkeypatch.setitem(list_systems(), "moving", f"{__name__}:Moving")
    monkeypatch.setitem(globals(), "Moving", Moving)
    table = {"system": "moving", "constants": {"size": 4}, "times": [1], "replicas": 1}
    check_experiment(parse_experiment(table | {"constants": {"size": 4, "push": 2}}))
    with pytest.raises(clhd.ClhdError, match=r"axes: the coordinates of feature are others at push=2, but the results"):
        check_experiment(parse_experiment(table | {"axes": {"push": [0, 2]}}))


@pytest.mark.parametrize("change", [{"constants": {"mode": 1.0}}, {"axes": {"mode": [True, 2]}}], ids=str)
def test_an_equal_value_of_another_type_is_another_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, change: dict[str, Any]
) -> None:
    class Anything(Walk):
        parameters = Walk.parameters | {"mode": clhd.Parameter(kind="any", default=0, meaning="what the system checks")}

    monkeypatch.setitem(list_systems(), "anything", f"{__name__}:Anything")
    monkeypatch.setitem(globals(), "Anything", Anything)
    fixed = {"system": "anything", "times": [1], "replicas": 1}
    where = {"axes": {"mode": [1]}} if "axes" in change else {"constants": {"mode": 1}}
    first, second = (
        parse_experiment(fixed | part | {"constants": {"size": 4, **part.get("constants", {})}})
        for part in (where, change)
    )
    clhd.run_experiment(first, results=tmp_path)
    found = change.get("constants", {"mode": True})["mode"]
    with pytest.raises(clhd.ClhdError, match=f"was computed with mode = 1; the file now says mode = {found!r}"):
        clhd.run_experiment(second, results=tmp_path)
    clhd.run_experiment(first, results=tmp_path)


def test_a_default_has_the_form_of_a_given_value() -> None:
    class Whole(Walk):
        parameters = Walk.parameters | {"start": clhd.Parameter(kind="number", default=3, meaning="start")}

    left_out, given = (Whole().simulation.point({"size": 1} | more, 0) for more in ({}, {"start": 3.0}))
    assert left_out == given
    assert [type(point.values.start) for point in (left_out, given)] == [float, float]


def test_a_parameter_per_component_is_a_tuple() -> None:
    half = Walk().theory
    found = half.compute([half.point({"features": 3, "push": 1.0, "push_2": 4.0}, 0)], TIME, [])
    assert found.values["x"].tolist() == [[[1.0, 4.0, 1.0], [2.0, 8.0, 2.0]]]
    assert found.status.tolist() == [clhd.Status.OK]
    assert [*half.outputs({"features": 3}).coordinates] == ["feature"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": 1.0}, r"output x is float64 of shape \(\); it must be real numbers of shape \(2,\), for \(time\)"),
        ({"x": [1.0]}, r"output x is float64 of shape \(1,\)"),
        ({"x": [[1.0, 2.0]]}, r"output x is float64 of shape \(1, 2\)"),
        ({"x": [[1.0], [2.0, 3.0]]}, "output x is no array"),
        ({"x": [1j, 2]}, "output x is complex128"),
        ({"x": ["1", "2"]}, "output x is <U1"),
        ({"x": None}, "output x is object"),
        ({"y": [1.0]}, r"output y is float64 of shape \(1,\); it must be real numbers of shape \(\), for \(\)"),
        ({"z": 1.0}, "returned x, y, z; it must return x, y"),
    ],
)
def test_a_run_that_returns_something_else_fails_by_name(values: dict[str, Any], message: str) -> None:
    result = run(answer(values=values), replicas=2)
    assert result.status.tolist() == [[clhd.Status.FAILED] * 2]
    assert isinstance(result.errors[0, 1], ResultError)
    with pytest.raises(ResultError, match=f"^system Answer, simulate: {message}"):
        raise result.errors[0, 0]


@pytest.mark.parametrize(("whole", "found"), [(None, "NoneType"), ([1], "list"), ({"x": TIME}, "x")])
def test_a_run_that_returns_no_table_of_the_outputs_fails(whole: Any, found: str) -> None:
    error = run(answer(whole=whole)).errors[0, 0]
    assert str(error) == f"system Answer, simulate: returned {found}; it must return x, y"


def test_whole_numbers_and_truth_are_numbers() -> None:
    result = run(answer(values={"x": np.array([1, 2]), "y": np.True_}))
    assert result.values["x"].tolist() == [[[1.0, 2.0]]]
    assert result.values["y"].tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"x": [1.0, np.inf]}, clhd.Status.DIVERGED),
        ({"x": [1.0, np.nan]}, clhd.Status.DIVERGED),
        ({"y": np.inf}, clhd.Status.DIVERGED),
        ({"y": np.nan}, clhd.Status.OK),
    ],
)
def test_the_status_of_a_run_is_that_of_its_outputs(values: dict[str, Any], status: clhd.Status) -> None:
    kind = answer(values=values)
    assert run(kind).status.tolist() == [[status]]
    assert clhd.status_of({"x": TIME, "y": 1.0} | values, kind.outputs) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no"), clhd.Status.FAILED), (clhd.NotConvergedError("no"), clhd.Status.NOT_CONVERGED)],
)
def test_an_exception_stops_its_run_alone(error: Exception, status: clhd.Status) -> None:
    result = run(answer(error=error), replicas=20)
    failed = result.status[0] == status
    assert 0 < failed.sum() < 20
    assert np.all(result.status[0, ~failed] == clhd.Status.OK)
    assert np.all(np.isnan(result.values["x"][0, failed]))
    assert set(result.errors) == {(0, int(k)) for k in np.flatnonzero(failed)}
    assert all(found is error for found in result.errors.values())


class Decay(clhd.System):
    """A random start that decays, and noise after the start; the theory is exact for each start."""

    size = "size"
    parameters = {
        "rate": clhd.Parameter(kind="number", default=1.0, minimum=0, meaning="rate"),
        "size": clhd.Parameter(kind="count", default=100, minimum=1, meaning="size"),
        "tilt": clhd.Parameter(kind="number", default=0.0, meaning="error of the theory", in_simulation=False),
    }
    outputs = {"x": clhd.Output(dims=("time",), words=words("x"))}

    def simulate(self, values: Any, time: Any, random: np.random.Generator) -> Mapping[str, Any]:
        start = random.normal()
        return {"x": start * np.exp(-values.rate * time) + random.normal(size=time.size) / np.sqrt(values.size)}

    def predict_run(self, values: Any, time: Any, random: np.random.Generator) -> Mapping[str, Any]:
        return {"x": (1 + values.tilt) * random.normal() * np.exp(-values.rate * time)}


@pytest.fixture
def decay(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setitem(list_systems(), "decay", f"{__name__}:Decay")
    table = {"system": "decay", "name": "decay", "axes": {"rate": [0, 2], "size": [100, 10000]}, "times": [0, 1]}
    return parse_experiment({**table, "replicas": 32, "seed": 5})


def test_a_theory_of_each_run_starts_where_the_run_starts(decay: Experiment) -> None:
    assert list_mistakes(Decay()) == []
    stages = [Stage(decay, kind) for kind in ("simulation", "theory")]
    assert [stage.shape for stage in stages] == [(2, 2, 32), (2, 2, 32)]
    point = {"rate": 2.0, "size": 10000}
    simulated, predicted = (stage.compute([stage.point(point)], range(32)) for stage in stages)
    assert predicted.values["x"].shape == (1, 32, 2)
    noise = simulated.values["x"] - predicted.values["x"]
    assert np.abs(noise).max() < 5 / 100  # 64 numbers of deviation 1/100
    assert predicted.values["x"][0, :, 0].std() > 0.5  # the starts themselves differ


def test_a_parameter_of_the_theory_alone_leaves_the_starts(decay: Experiment) -> None:
    stage = Stage(decay, "theory")
    straight, tilted = (stage.point({"rate": 2.0, "size": 100, "tilt": tilt}) for tilt in (0.0, 1.0))
    found = stage.compute([straight, tilted], [3])
    np.testing.assert_allclose(found.values["x"][1], 2 * found.values["x"][0], rtol=1e-15)


def test_the_store_and_the_summary_have_the_theory_of_each_run(decay: Experiment, tmp_path: Any) -> None:
    results = clhd.run_experiment(decay, results=tmp_path)
    theory = results["theory"].to_dataset()["x"]
    assert theory.dims == ("rate", "size", "replica", "time")
    summary = results["summary"].to_dataset()
    simulated = results["simulation"].to_dataset()["x"]
    np.testing.assert_allclose(summary["x_theory"], theory.mean("replica"), rtol=1e-12)
    deviation = (simulated - theory).mean("replica")
    np.testing.assert_allclose(summary["x_deviation_mean"], deviation, rtol=1e-10, atol=1e-15)
    # The spread of the starts is gone from the error: 1/sqrt(size) of the noise is left.
    error = summary["x_deviation_standard_error"].sel(size=10000).values * np.sqrt(32)
    assert np.all(np.abs(error - 0.01) < 0.005)
    assert np.abs(summary["x_z_score"]).max() < 5


@pytest.mark.parametrize(
    ("change", "message"),
    [({"keep": "moments", "replicas": 256}, "keep: replicas"), ({"replicas": 0}, "replicas = 0")],
)
def test_a_theory_of_each_run_needs_the_runs(decay: Experiment, change: dict[str, Any], message: str) -> None:
    with pytest.raises(clhd.ClhdError, match=message):
        check_experiment(parse_experiment(decay.resolved() | change))


def test_the_random_numbers_of_a_run_are_those_of_numpy_for_its_key() -> None:
    for replica in range(20):
        digest = blake2b(f"text|{replica}".encode(), digest_size=16, person=b"clhd generator").digest()
        expected = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
        found = clhd.generator("text", replica)
        assert found.normal(size=9).tobytes() == expected.normal(size=9).tobytes()
        assert found.integers(0, 9, 7).tobytes() == expected.integers(0, 9, 7).tobytes()
        assert pickle.loads(pickle.dumps(found)).random() == expected.random()
