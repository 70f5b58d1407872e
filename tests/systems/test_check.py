"""The output of a half is compared with its declaration; nothing is broadcast, and a wrong result fails its runs."""

from typing import Any

import numpy as np
import pytest

from clhd.sweep.plan.moments import reduce_blocks
from clhd.systems.check import ResultError, check_result
from clhd.systems.declarations import NotConvergedError, Output, Outputs, Result, Status, describe

OUTPUTS = Outputs(
    variables={
        "height": Output(dims=("time", "feature"), words=describe("height")),
        "ratio": Output(dims=(), words=describe("ratio"), may_be_nan=True),
    },
    coordinates={"feature": ([1, 2], describe("feature"))},
)
SIZES = {"time": 3, "feature": 2}
POINTS, REPLICAS = 2, 4
SHAPE = (POINTS, REPLICAS)


def make_values(**changes: Any) -> dict[str, Any]:
    return {"height": np.zeros((*SHAPE, 3, 2)), "ratio": np.zeros(SHAPE)} | changes


def check(values: dict[str, Any], status: Any = None, errors: Any = None) -> Result:
    status = np.full(SHAPE, Status.OK, np.int8) if status is None else status
    return check_result(Result(values=values, status=status, errors=errors or {}), OUTPUTS, SIZES, SHAPE, "system x")


def test_a_right_result_passes_as_it_is() -> None:
    values = make_values()
    result = check(values)
    assert result.values is values
    assert np.all(result.status == Status.OK)
    assert not result.errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": np.zeros(SHAPE)}, "system x: returned the outputs height, more, ratio; it declares height, ratio"),
        ({"height": np.zeros((*SHAPE, 3))}, r"output height is float64 of shape \(2, 4, 3\); it must be float64 of"),
        ({"height": np.zeros((*SHAPE, 1, 2))}, r"shape \(2, 4, 1, 2\); .* \(2, 4, 3, 2\), for \(point, replica, time"),
        ({"height": np.zeros((*SHAPE, 3, 1))}, r"it must be float64 of shape \(2, 4, 3, 2\)"),
        ({"height": np.zeros((POINTS, 1, 3, 2))}, r"float64 of shape \(2, 1, 3, 2\)"),
        ({"height": np.zeros((1, 1, 1, 1))}, r"float64 of shape \(1, 1, 1, 1\)"),
        ({"height": np.zeros((*SHAPE, 2, 3))}, r"float64 of shape \(2, 4, 2, 3\)"),
        ({"height": 0.0}, r"output height is float64 of shape \(\)"),
        ({"height": np.zeros((*SHAPE, 3, 2), np.float32)}, "output height is float32"),
        ({"height": np.zeros((*SHAPE, 3, 2), int)}, "output height is int64"),
        ({"height": np.zeros((*SHAPE, 3, 2), complex)}, "output height is complex128"),
        ({"ratio": np.full(SHAPE, "1")}, "output ratio is <U1"),
    ],
)
def test_a_result_of_another_name_shape_or_type_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        check(make_values(**changes))


def test_a_missing_output_is_refused() -> None:
    with pytest.raises(ResultError, match="returned the outputs ratio; it declares height, ratio"):
        check({"ratio": np.zeros(SHAPE)})


@pytest.mark.parametrize(
    "status",
    [np.ones(POINTS, np.int8), np.ones((POINTS, 1), np.int8), np.ones(SHAPE), np.full(SHAPE, 9, np.int8), None],
    ids=["shape", "broadcast", "float", "unknown", "none"],
)
def test_a_status_of_another_shape_or_meaning_is_refused(status: Any) -> None:
    status = np.array(None) if status is None else status
    with pytest.raises(ResultError, match=r"status must be a Status for each of \(2, 4\)"):
        check(make_values(), status)


def test_nan_with_status_ok_fails_that_run_alone_and_names_system_output_and_shape() -> None:
    values = make_values()
    values["height"][1, 2, 0, 1] = np.nan
    values["ratio"][0, 0] = np.nan  # which may be NaN
    result = check(values)
    assert [*result.errors] == [(1, 2)]
    assert str(result.errors[1, 2]) == "system x: output height of shape (3, 2) is NaN, though the status is ok"
    assert result.status[1, 2] == Status.FAILED
    assert np.sum(result.status == Status.OK) == 7


def test_nan_of_a_run_that_diverged_is_no_fault() -> None:
    values, status = make_values(), np.full(SHAPE, Status.OK, np.int8)
    values["height"][0, 1] = np.nan
    status[0, 1] = Status.DIVERGED
    result = check(values, status)
    assert not result.errors
    assert result.status[0, 1] == Status.DIVERGED


@pytest.mark.parametrize("output", ["height", "ratio"])
def test_an_infinite_output_is_a_divergence(output: str) -> None:
    values = make_values()
    values[output][0, 3] = -np.inf
    result = check(values)
    assert result.status[0, 3] == Status.DIVERGED
    assert np.sum(result.status == Status.OK) == 7
    assert not result.errors


def test_the_errors_of_a_half_give_the_status() -> None:
    errors = {(0, 0): ZeroDivisionError("x"), (1, 1): NotConvergedError("y")}
    result = check(make_values(), errors=errors)
    assert result.status[0, 0] == Status.FAILED
    assert result.status[1, 1] == Status.NOT_CONVERGED
    assert result.errors == errors


def test_moments_leave_out_what_diverged_or_did_not_converge_and_fail_with_what_failed() -> None:
    values = make_values()
    values["height"][0, 0] = np.inf
    values["height"][1, 0, 0, 0] = np.nan
    result = check(values, errors={(0, 1): NotConvergedError("no answer")})
    blocks = reduce_blocks(result, REPLICAS)
    assert blocks.status.tolist() == [[Status.OK], [Status.FAILED]]
    assert blocks.values["ok_count"].tolist() == [[2.0], [3.0]]
    assert blocks.values["diverged_count"].tolist() == [[1.0], [0.0]]
    assert np.all(np.isfinite(blocks.values["height_mean"]))
    assert [*blocks.errors] == [(1, 0)]
