"""What holds for every test: none touches numpy's global random state."""

from collections.abc import Iterator

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def untouched_global_random_state() -> Iterator[None]:
    """Fail a test that draws from, or seeds, the state that all code shares: its result would depend on the others."""
    before = _describe_global_state()
    yield
    if _describe_global_state() != before:
        pytest.fail("this test touched numpy's global random state: use numpy.random.default_rng(seed)")


def _describe_global_state() -> str:
    state = np.random.get_state(legacy=False)  # noqa: NPY002  # the guard must look at what it guards
    # Beside the words: the second number of a pair of normal numbers is kept for the next call.
    return repr((state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"], state["gauss"]))
