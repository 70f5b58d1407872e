"""Series that a system draws itself: their parts, looks, shifts and bars."""

import numpy as np
import pytest
import xarray as xr

from clhd.core.statistics import NORMAL_95
from clhd.figures.series import draw_means, shift_series, split_series
from clhd.figures.style import CATEGORIES, MARKERS, make_figure, use_style

DATA = xr.Dataset(
    {"height_mean": (("slope", "size"), [[1.0, 2.0], [3.0, 4.0]]), "height_standard_error": ("size", [0.5, np.nan])},
    {"slope": [10.0, 20.0], "size": [1.0, 2.0]},
)


def test_each_value_of_an_axis_has_its_part_and_a_look_of_its_own() -> None:
    series = list(split_series(DATA, "slope", ordered=False))
    assert [value for value, _, _ in series] == [10, 20]
    assert [part["height_mean"].values.tolist() for _, part, _ in series] == [[1, 2], [3, 4]]
    assert [(look["color"], look["marker"]) for _, _, look in series] == list(zip(CATEGORIES, MARKERS, strict=False))[
        :2
    ]


def test_without_an_axis_all_data_are_one_series() -> None:
    ((value, part, look),) = split_series(DATA, None, ordered=True)
    assert value is None
    assert part is DATA
    assert look["marker"] == MARKERS[0]


def test_bars_have_the_length_of_the_errors_and_one_run_has_none() -> None:
    with use_style():
        panel = make_figure(3, 2).subplots()
        for (_, part, look), errors in zip(split_series(DATA, "slope", ordered=True), (NORMAL_95, 2.0), strict=True):
            draw_means(panel, part["size"], part, "height", errors=errors, **look)
    ends = [bars.get_segments()[k][:, 1] for bars in panel.collections for k in (0, 1)]
    np.testing.assert_allclose(np.ptp(ends, axis=1), [2 * NORMAL_95 * 0.5, 0, 2, 0])
    np.testing.assert_allclose(np.mean(ends, axis=1), [1, 2, 3, 4])


def test_shifts_lie_around_zero() -> None:
    assert shift_series(3, 0.1) == pytest.approx([-0.1, 0, 0.1])
    assert shift_series(1, 0.1) == [0]
