"""The elementary functions keep the errors that the head of clhd/core/vector_math.py states, against 40 digits."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from numba import njit

from clhd.core import vector_math

mpmath.mp.dps = 40
RNG = np.random.default_rng(20240609)


@njit
def sine(x):
    return vector_math.sine_cosine(x)[0]


@njit
def cosine(x):
    return vector_math.sine_cosine(x)[1]


def evaluate(function, x: np.ndarray) -> np.ndarray:
    """Apply `function` in a loop of its own, as kernels do."""
    return compile_loop(function)(x)


def compile_loop(function):
    @njit(error_model="numpy", fastmath={"contract"})
    def loop(x):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = function(x[i])
        return out

    return loop


def around(points: np.ndarray) -> np.ndarray:
    """The points and their nearest neighbours: where one piece of a function meets the next."""
    return np.concatenate([np.nextafter(points, -np.inf), points, np.nextafter(points, np.inf)])


@dataclass(frozen=True)
class Case:
    function: Callable
    exact: Callable
    arguments: np.ndarray
    ulp: float


# Range reduction by ln 2 switches at odd multiples of ln(2) / 2 (of ln(2) / 4 in tanh).
SWITCHES = np.arange(-19.5, 20) * math.log(2)
TINY = 10.0 ** RNG.uniform(-307, -3, 500)
CASES = {
    "tanh": Case(
        vector_math.tanh,
        mpmath.tanh,
        np.concatenate([RNG.uniform(-5, 5, 2000), RNG.uniform(-30, 30, 500), TINY, -TINY, around(SWITCHES / 2)]),
        3,
    ),
    "exponential": Case(
        vector_math.exponential,
        mpmath.exp,
        np.concatenate(
            [RNG.uniform(-700, 700, 2000), RNG.uniform(-2, 2, 1000), TINY, around(SWITCHES), [-700.0, 700.0]]
        ),
        2,
    ),
    "erf": Case(
        vector_math.erf,
        mpmath.erf,
        np.concatenate(
            [RNG.uniform(-0.6, 0.6, 1000), RNG.uniform(-7, 7, 2000), TINY, -TINY, around(np.array([0.5, 6.5]))]
        ),
        4,
    ),
    "minus_two_log": Case(
        vector_math.minus_two_log,
        lambda u: -2 * mpmath.log(u),
        np.concatenate(
            [
                RNG.uniform(1e-3, 1, 2000),
                TINY,
                2.0 ** -np.arange(0.0, 1023.0),
                np.nextafter(math.sqrt(0.5) * 2.0 ** -np.arange(0.0, 60.0), np.repeat([0.0, 1.0], 30)),
                1 - 10.0 ** RNG.uniform(-15.9, -1, 1000),
            ]
        ),
        3,
    ),
    "sine": Case(sine, lambda y: mpmath.sinpi(y / 2), np.append(RNG.uniform(-0.5, 0.5, 3000), [*TINY, 0.5]), 2),
    "cosine": Case(cosine, lambda y: mpmath.cospi(y / 2), np.append(RNG.uniform(-0.5, 0.5, 3000), [*TINY, 0.5]), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_an_elementary_function_errs_by_no_more_than_its_documentation_says(name: str) -> None:
    case = CASES[name]
    values = evaluate(case.function, case.arguments)
    exact = [case.exact(mpmath.mpf(float(x))) for x in case.arguments]
    # Of exact 0 (log 1) the unit in the last place is the smallest number: it must be met.
    unit = np.array([np.spacing(abs(float(y))) for y in exact])
    error = np.array(
        [
            float(abs(mpmath.mpf(float(v)) - y) / mpmath.mpf(float(u)))
            for v, y, u in zip(values, exact, unit, strict=True)
        ]
    )
    worst = int(np.argmax(error))
    assert error[worst] <= case.ulp, f"{name}({case.arguments[worst]!r}) errs by {error[worst]:.2f} ULP"


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_a_sigmoid_keeps_the_limits_the_sign_of_zero_and_nan(name: str) -> None:
    x = np.array([np.inf, -np.inf, 1e300, -1e300, 0.0, -0.0, np.nan])
    values = evaluate(CASES[name].function, x)
    np.testing.assert_array_equal(values, [1, -1, 1, -1, 0, 0, np.nan])
    np.testing.assert_array_equal(np.signbit(values[4:6]), [False, True])


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_a_sigmoid_never_exceeds_one(name: str) -> None:
    assert np.max(np.abs(evaluate(CASES[name].function, np.linspace(3, 45, 100_001)))) == 1.0


def test_the_logarithm_of_one_is_exactly_zero() -> None:
    assert evaluate(vector_math.minus_two_log, np.array([1.0]))[0] == 0.0


@pytest.mark.parametrize("name", CASES)
def test_a_loop_over_an_elementary_function_vectorises(name: str) -> None:
    loop = compile_loop(CASES[name].function)
    loop(np.ones(4))
    (code,) = loop.inspect_llvm().values()
    assert re.search(r"fmul contract <\d+ x double>", code)


def test_the_check_of_vectorisation_can_fail() -> None:
    loop = compile_loop(njit(lambda x: math.lgamma(x) * 3.0))
    loop(np.ones(4))
    (code,) = loop.inspect_llvm().values()
    assert not re.search(r"fmul contract <\d+ x double>", code)
