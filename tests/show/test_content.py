"""What the page of an experiment holds: the numbers of the summary, and the answers of `clhd why`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clhd.show.content import describe_results, list_numbers
from clhd.sweep.results.inspect import describe_point, explain_points
from clhd.sweep.results.summary_reader import Summary, read_summary
from clhd.sweep.spec.experiment import Experiment, parse_experiment, read_experiment

pytestmark = pytest.mark.usefixtures("project")


def describe_first() -> tuple[Summary, dict[str, Any]]:
    summary = read_summary(Path("results/first/summary.zarr"))
    experiment = parse_experiment(summary.experiment, check=False)
    answers = explain_points(experiment, Path("results"), {}, computes=False)
    return summary, describe_results(summary, experiment, answers)


def test_the_page_has_the_numbers_of_the_summary() -> None:
    summary, content = describe_first()
    (height,) = (entry for entry in content["quantities"] if entry["name"] == "height")
    mean, spread, score = height["views"]
    for view, points in ((mean, "mean"), (spread, "standard_deviation"), (score, "z_score")):
        stored = summary.dataset[f"height_{points}"]
        assert view["points"]["dims"] == list(stored.dims)
        found = np.array(view["points"]["values"], float).reshape(stored.shape)
        np.testing.assert_allclose(found, stored.values, rtol=1e-6)
    np.testing.assert_allclose(np.array(mean["line"]["values"], float), summary.dataset.height_theory.values.ravel())
    assert [view["is_score"] for view in height["views"]] == [False, False, True]


def test_a_quantity_of_the_theory_alone_is_there_too() -> None:
    _, content = describe_first()
    (steepness,) = (entry for entry in content["quantities"] if entry["name"] == "steepness")
    assert [view["points"] for view in steepness["views"]] == [None]
    assert steepness["views"][0]["line"]["values"][-1] == 8
    assert (steepness["label"], steepness["units"]) == ("steepness", "m/s")


def test_the_answers_are_those_of_why_without_the_key() -> None:
    _, content = describe_first()
    experiment = read_experiment("first.yaml")
    axes = {dim["name"]: dim for dim in content["dims"]}
    points = [(i, j) for i in range(4) for j in range(2)]
    for number, (slope, pair) in enumerate(points):
        words = [*axes["slope"]["arguments"][slope].split(), *axes["pair"]["arguments"][pair].split()]
        (answer,) = explain_points(experiment, Path("results"), dict(word.split("=") for word in words))
        expected = {heading: text for heading, text in describe_point(answer).items() if heading != "key"}
        tables = content["answers"]["tables"]
        found = {table["heading"]: table["texts"][table["numbers"][number]] for table in tables}
        place = [axes["slope"]["labels"][slope], axes["pair"]["labels"][pair]]
        found["parameters"] = ", ".join([*content["answers"]["constants"], *place])
        assert {heading: text for heading, text in found.items() if text} == expected


def test_what_is_shown_first_follows_the_file() -> None:
    _, content = describe_first()
    start = content["start"]
    assert (start["quantity"], start["x"], start["colour"]) == ("height", "slope", "pair")
    assert "time" in start["last"]


def test_many_numbers_are_thinned_out_along_the_time_and_the_page_says_so() -> None:
    summary, _ = describe_first()
    experiment = parse_experiment(summary.experiment, check=False)
    content = describe_results(summary, experiment, [], max_numbers=90)
    (time,) = (dim for dim in content["dims"] if dim["name"] == "time")
    assert time["texts"] == ["0", "2"]
    assert content["left_out"][0] == "2 of 3 times are here"
    assert any("is not here" in text for text in content["left_out"])


def test_numbers_have_seven_digits_and_none_where_they_are_not_known() -> None:
    values = np.array([1 / 3, -2e-9 / 3, 123456789.0, 0.0, np.nan, np.inf, 1e-290, 1e300, 1.234567e-305])
    found = list_numbers(values)
    assert found[:6] == [0.3333333, -6.666667e-10, 123456800.0, 0.0, None, None]
    np.testing.assert_allclose(found[6:], values[6:], rtol=1e-6)
    assert list_numbers(np.array([5e-324])) == [5e-324]


def test_values_that_four_digits_do_not_tell_apart_have_more(large: tuple[Summary, Experiment]) -> None:
    summary, experiment = large
    slope = 1 + 1e-6 * np.arange(100)
    table = experiment.resolved() | {"axes": {"slope": slope.tolist(), "size": list(range(1, 101))}}
    near = Summary(summary.dataset.assign_coords(slope=slope))
    content = describe_results(near, parse_experiment(table, check=False), [])
    assert content["dims"][0]["texts"][:2] == ["1", "1.000001"]
