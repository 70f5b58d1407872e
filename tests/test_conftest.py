"""The guards of conftest.py can fail."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
GUARD = (Path(__file__).parent / "conftest.py").read_text()


@pytest.mark.parametrize("call", ["np.random.normal()", "np.random.seed(1)"])
def test_a_test_that_touches_the_global_random_state_fails(pytester: pytest.Pytester, call: str) -> None:
    pytester.makeconftest(GUARD)
    pytester.makepyfile(f"import numpy as np\ndef test_it():\n    {call}")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*touched numpy's global random state*"])


def test_a_test_with_its_own_generator_passes(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(GUARD)
    pytester.makepyfile("import numpy as np\ndef test_it():\n    np.random.default_rng(1).normal()")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
