"""A share of the crash points of `make chaos`: each operation is killed at two of its changes of files."""

from pathlib import Path

import pytest

from tests.chaos.crash_points import OPERATIONS, Operation, play


@pytest.mark.parametrize("operation", OPERATIONS, ids=[operation.name for operation in OPERATIONS])
def test_after_a_kill_at_a_change_of_a_file_all_is_as_if_nothing_had_been(operation: Operation, tmp_path: Path) -> None:
    count = play(operation, tmp_path, share=400, first=57)
    assert count.problems == []
    assert count.points > 0
