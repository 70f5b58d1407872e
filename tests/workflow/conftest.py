"""A project in which the workflow runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A folder with a config of two experiments; what a failed test has left running is ended."""
    made = Project(tmp_path)
    yield made
    for run in made.started:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.wait()
