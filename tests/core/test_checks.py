"""The checks of arguments, in the cases that no test of a model reaches."""

import numpy as np
import pytest

from clhd.core.checks import parse_count, parse_times, parse_vector
from clhd.errors import ClhdError


@pytest.mark.parametrize("value", [12, 12.0, np.int64(12), np.float32(12)])
def test_a_count_may_be_written_as_any_whole_number(value: object) -> None:
    count = parse_count("replicas", value, minimum=1)
    assert count == 12
    assert type(count) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "replicas = 0: must be a whole number, 1 or more"),
        (1.5, "replicas = 1.5: must be a whole number, 1 or more"),
        (float("inf"), "replicas = inf: must be a finite number"),
        ("64", "replicas = '64': must be a number"),
        (None, "replicas = None: must be a number"),
        (np.True_, "replicas = np.True_: must be a number"),
        (np.complex128(2), "replicas = np.complex128(2+0j): must be a number"),
        (b"64", "replicas = b'64': must be a number"),
    ],
)
def test_a_bad_count_gets_one_sentence(value: object, message: str) -> None:
    with pytest.raises(ClhdError) as error:
        parse_count("replicas", value, minimum=1)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "time = []: must be one or more times, 0 or later, in strictly increasing order"),
        ([-1, 2], "time = [-1, 2]: must be one or more times, 0 or later, in strictly increasing order"),
        ([0, 2, 1], "time = [0, 2, 1]: must be one or more times, 0 or later, in strictly increasing order"),
        ([0, 1, 1], "time = [0, 1, 1]: must be one or more times, 0 or later, in strictly increasing order"),
        ([0, float("nan")], "time = [0, nan]: must hold finite numbers only"),
        ("now", "time = 'now': must be a list of numbers"),
        (3.0, "time = 3.0: must be a list of numbers"),
        (["0", "1"], "time = ['0', '1']: must be a list of numbers"),
        (np.array([1 + 1j]), "time = array([1.+1.j]): must be a list of numbers"),
        ([10**400], f"time = [{10**400}]: must be a list of numbers"),
        ([[0, 1]], "time = [[0, 1]]: must be a list of numbers"),
    ],
)
def test_bad_times_get_one_sentence(value: object, message: str) -> None:
    with pytest.raises(ClhdError) as error:
        parse_times(value)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_a_vector_is_a_copy_of_what_was_given() -> None:
    given = np.array([1.0, 2.0])
    parse_vector("overlap", given)[0] = 5.0
    np.testing.assert_array_equal(given, [1, 2])
