"""The fixtures of conftest.py do their work."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
GUARD = (Path(__file__).parent / "conftest.py").read_text()
TESTS = """
import os
import signal

import numpy as np
import pytest

def test_draws():
    np.random.normal()

def test_seeds():
    np.random.seed(1)

def test_has_its_own_generator():
    np.random.default_rng(1).normal()

def test_answers_interrupts_in_its_own_way():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(99))

def test_is_interrupted():
    assert not callable(signal.getsignal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
"""


def test_the_global_random_state_is_guarded_and_an_interrupt_answered_whatever_came_before(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(GUARD)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=5, errors=2)
    for name in ("test_draws", "test_seeds"):
        message = "E *touched numpy's global random state*"
        result.stdout.fnmatch_lines([f"*ERROR at teardown of {name} *", message])
