"""The guards of conftest.py can fail."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
GUARD = (Path(__file__).parent / "conftest.py").read_text()
TESTS = """
import numpy as np

def test_draws():
    np.random.normal()

def test_seeds():
    np.random.seed(1)

def test_has_its_own_generator():
    np.random.default_rng(1).normal()
"""


def test_a_test_that_touches_the_global_random_state_fails(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(GUARD)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=3, errors=2)
    for name in ("test_draws", "test_seeds"):
        message = "E *touched numpy's global random state*"
        result.stdout.fnmatch_lines([f"*ERROR at teardown of {name} *", message])
