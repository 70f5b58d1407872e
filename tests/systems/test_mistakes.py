"""Mistakes in a system are reported when it is loaded, one line for each."""

from typing import Any

import pytest

import clhd
from clhd.systems.mistakes import list_mistakes
from clhd.systems.registry import find_system, import_named, list_systems


class Right(clhd.System):
    """Nothing is wrong with it."""

    parameters = {"a": clhd.Parameter(kind="number", default=1.0, meaning="a")}
    outputs = {"x": clhd.Output(dims=("time",), words=clhd.describe("x"))}

    def simulate(self, values: Any, time: Any, random: Any) -> Any:
        return {"x": time}


def parameter(**changes: Any) -> dict[str, clhd.Parameter]:
    return {"a": clhd.Parameter(**{"kind": "number", "default": 1.0, "meaning": "a", **changes})}


def output(name: str = "x", **changes: Any) -> dict[str, clhd.Output]:
    return {name: clhd.Output(**{"dims": ("time",), "words": clhd.describe("x"), **changes})}


def return_time(self: Any, values: Any, time: Any, random: Any = None) -> Any:
    return {"x": time}


def test_nothing_is_wrong_with_a_right_system() -> None:
    assert list_mistakes(Right()) == []


@pytest.mark.parametrize("name", list_systems())
def test_nothing_is_wrong_with_those_of_clhd(name: str) -> None:
    assert list_mistakes(find_system(name)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": 3}, "title = 3: must be text"),
        ({"version": 1.5}, "version = 1.5: must be a whole number"),
        ({"sources": "a book"}, "sources = 'a book': must be a list of texts"),
        ({"time": "t"}, "time = 't': must be clhd.describe(...), or None if the system has no time"),
        ({"parameters": [1]}, "parameters = [1]: must be a table of name: clhd.Parameter"),
        ({"parameters": {"a": 1.0}}, "parameters.a = 1.0: must be a clhd.Parameter"),
        ({"parameters": {"A": parameter()["a"]}}, "parameters: 'A' must be lower-case letters, digits and _, "),
        ({"parameters": {"seconds": parameter()["a"]}}, "parameters.seconds: is the name of something else in the"),
        ({"parameters": parameter(kind="real")}, "parameters.a: kind = 'real': must be one of number, count, choice"),
        ({"parameters": parameter(kind="choice")}, "parameters.a: kind = 'choice' needs choices"),
        ({"parameters": parameter(minimum=2)}, "parameters.a: default = 1.0: must be a finite number, 2 or more"),
        ({"parameters": parameter(default="x")}, "parameters.a: default = 'x': must be a number"),
        ({"parameters": parameter(per_component=True)}, "parameters.a: has a value for each component, so components"),
        (
            {"parameters": parameter(in_theory=False, in_simulation=False)},
            "parameters.a: neither the simulation nor the theory depends on it; leave it out",
        ),
        ({"size": "n"}, "size = 'n': is no parameter of the system"),
        ({"components": "a"}, "parameters.a: counts the components, so kind must be 'count' and can_vary False"),
        ({"claims": ["C1"]}, "claims = ['C1']: must be a table of name: 'MODULE:NAME'"),
        ({"outputs": {}}, "outputs: must be given, such as outputs = {'height': clhd.Output("),
        ({"outputs": ("x",)}, "outputs = ('x',): must be a table of name: clhd.Output"),
        ({"outputs": output("status")}, "outputs.status: is the name of something else in the results"),
        ({"outputs": output("a")}, "outputs.a: is the name of a parameter, too"),
        ({"outputs": output(dims="time")}, "outputs.x: dims = 'time': must be a tuple of names, such as ('time',)"),
        ({"outputs": output(dims=("time", "time"))}, "outputs.x: dims = ('time', 'time'): names a dim twice"),
        ({"outputs": output(words="height")}, "outputs.x: words = 'height': must be clhd.describe(...)"),
        ({"outputs": output(words=clhd.describe(""))}, "outputs.x: words = {'long_name': ''"),
        ({"outputs": output(distribution_along="y")}, "outputs.x: distribution_along = 'y': must be one of its dims"),
        ({"outputs": output("ok")}, "outputs.ok: the results name something else so; choose another"),
        ({"outputs": output() | output("x_deviation")}, "outputs.x_deviation: the results name something else so"),
        ({"outputs": output() | output("x_distance")}, "outputs.x_distance: the results name something else so"),
        ({"outputs": output() | output("x_theory")}, "outputs.x_theory: the results name something else so"),
        *(
            ({"outputs": output(dims=(dim,))}, f"outputs.x: dims = ('{dim}',): {dim} is the name of something else")
            for dim in ("a", "x", "x_mean", "replica", "quantile")
        ),
        ({"parameters": {"x_mean": parameter()["a"]}}, "parameters.x_mean: is the name of a statistic of an output"),
        ({"time": None}, "outputs.x: has the dim time, but time = None says that the system has no time"),
        ({"quantity": "y"}, "quantity = 'y': must be one of the outputs x"),
        ({"predict": return_time, "predict_run": return_time}, "defines both predict and predict_run; a theory"),
        (
            {"parameters": parameter(in_theory=False), "predict_run": return_time},
            "parameters.a: in_theory must be True, for predict_run draws the start of each run of simulate",
        ),
    ],
    ids=lambda entry: "" if isinstance(entry, str) else ",".join(entry),
)
def test_a_mistake_gets_one_line(changes: dict[str, Any], message: str) -> None:
    (line,) = list_mistakes(type("Wrong", (Right,), changes)())
    assert line.startswith(message)
    assert "\n" not in line


def test_all_mistakes_are_told_at_once() -> None:
    changes = {"title": 3, "limit": None, "parameters": {"a": 1, "b": 2}}
    assert len(list_mistakes(type("Wrong", (Right,), changes)())) == 4


def test_outputs_without_a_function_are_told() -> None:
    kind = type("Wrong", (clhd.System,), {"outputs": output()})
    assert list_mistakes(kind()) == [
        "outputs: are declared, but neither simulate nor predict is defined, so there is nothing to compute"
    ]
    theory = type("Wrong", (clhd.System,), {"outputs": output(), "predict_run": return_time})
    assert list_mistakes(theory()) == ["defines predict_run without simulate, whose runs it predicts"]


@pytest.mark.parametrize("name", list_systems())
def test_all_that_an_installed_system_lists_can_be_imported(name: str) -> None:
    system = find_system(name)
    for claim_id, target in system.claims.items():
        for figure in import_named(target, system).list_figures(claim_id).values():
            assert callable(import_named(figure, system))
    assert all(callable(import_named(target, system)) for target in system.figures.values())
