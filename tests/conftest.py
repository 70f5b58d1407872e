"""Fixtures of every test: fixed random numbers, and a Ctrl-C that works wherever the tests are started."""

import signal
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# The same examples at each run, on a busy machine too, whatever earlier runs have left in .hypothesis.
settings.register_profile("clhd", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clhd")


ANSWERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose tests take a minute each: at the end, one process would wait for another."""
    items.sort(key=lambda item: item.path.parent.name not in {"workflow", "chaos"})


@pytest.fixture(autouse=True)
def heard_interrupts() -> Iterator[None]:
    """Answer Ctrl-C as Python does, whoever has started the tests, and whichever came before.

    A shell has jobs that it starts in the background ignore it. A command answers it in its own way from then on, the
    second time by ending the process.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, ANSWERS[signal.SIGTERM])
    yield
    for number, answer in ANSWERS.items():
        signal.signal(number, answer)


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
