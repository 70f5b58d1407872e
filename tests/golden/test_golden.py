"""The numbers of every built-in system are those recorded before the code was rebuilt, to the last bit."""

from pathlib import Path

import numpy as np
import pytest

from tests.golden.results import NAMES, RECORD, compute, describe_machine

# On another processor the compiler may contract other operations: a few units in the last place, grown along a run.
# A z-score is a quotient of differences of close numbers, some of which have lost seven digits.
_RELATIVE, _RELATIVE_OF_SCORES, _ABSOLUTE = 1e-7, 1e-5, 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_gives_the_recorded_numbers(name: str, tmp_path: Path) -> None:
    found = compute(name, tmp_path)
    with np.load(RECORD) as record:
        expected = {key: record[key] for key in record.files if key.startswith(f"{name}/")}
        is_same_machine = str(record["machine"]) == describe_machine()
    assert found.keys() == expected.keys()
    assert len(found) > 5
    for key, values in expected.items():
        if is_same_machine:
            assert found[key].tobytes() == values.tobytes(), key
        else:
            relative = _RELATIVE_OF_SCORES if key.endswith("z_score") else _RELATIVE
            np.testing.assert_allclose(found[key], values, rtol=relative, atol=_ABSOLUTE, err_msg=key)
