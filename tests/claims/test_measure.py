"""What judges measure: means by point, and counts that should be the same in every run."""

import numpy as np
import pytest
import xarray as xr

from clhd.claims.measure import find_largest_difference, list_means
from clhd.claims.verdict import Estimate

DATA = xr.Dataset(
    {
        "height_mean": (("slope", "size"), [[1.0, 2.0], [3.0, 4.0]]),
        "height_standard_error": (("size", "slope"), [[0.1, 0.3], [0.2, 0.4]]),
        "height_standard_deviation": (("slope", "size"), [[0.0, 0.5], [0.0, 0.0]]),
        "replica_count": (("slope", "size", "status"), [[[9, 0], [9, 0]], [[3, 6], [9, 0]]]),
    },
    {"slope": [10, 20], "size": [1, 2], "status": ["ok", "failed"]},
)


def test_each_point_has_its_mean_with_an_interval_that_holds_together_with_the_others() -> None:
    found = list_means(DATA, "height")
    assert list(found) == [
        "slope = 10, size = 1",
        "slope = 10, size = 2",
        "slope = 20, size = 1",
        "slope = 20, size = 2",
    ]
    assert found["slope = 20, size = 1"] == Estimate.with_error(3.0, 0.3, among=4, runs=3)
    assert list_means(DATA.isel(size=0), "height", among=1)["slope = 20"] == Estimate.with_error(3.0, 0.3, runs=3)


@pytest.mark.parametrize(("expected", "difference"), [(DATA["height_mean"], 0.5), (2.0, 2.0), (np.nan, np.nan)])
def test_the_spread_of_runs_counts_as_a_difference(expected: xr.DataArray | float, difference: float) -> None:
    np.testing.assert_equal(find_largest_difference(DATA, "height", expected), difference)
