"""The roles of axes in a figure, for all kinds of axes."""

import numpy as np
import pytest
import xarray as xr

from clhd.errors import ClhdError
from clhd.figures.roles import assign_roles, find_places, spread_ticks, thin

from .conftest import MakeSummary

WISH = ("noise_correlation", "augmentation_noise_variance", "dimension")


def test_the_axes_that_a_figure_wishes_for_have_the_roles_it_wishes(make_summary: MakeSummary) -> None:
    summary = make_summary({"dimension": [10, 20], "noise_correlation": [0, 1], "augmentation_noise_variance": [0, 1]})
    roles = assign_roles(summary, WISH)
    assert (roles.x, roles.colour, roles.column, roles.row) == (*WISH, None)
    assert roles.fixed == {}


def test_another_axis_takes_the_place_of_one_that_was_taken_out(make_summary: MakeSummary) -> None:
    summary = make_summary({"noise_correlation": [0, 1], "kurtosis": [1, 2], "dimension": [10, 20]})
    roles = assign_roles(summary, WISH)
    assert (roles.x, roles.colour, roles.column) == ("noise_correlation", "kurtosis", "dimension")


def test_an_axis_of_one_value_has_no_role(make_summary: MakeSummary) -> None:
    summary = make_summary({"noise_correlation": [0], "kurtosis": [1, 2], "dimension": [10]})
    roles = assign_roles(summary, WISH)
    assert (roles.x, roles.colour, roles.column, roles.row) == ("kurtosis", None, None, None)


def test_axes_beyond_the_roles_stay_at_one_value_and_the_dimension_at_the_last(make_summary: MakeSummary) -> None:
    axes = {"a": [0, 1], "b": [0, 1], "c": [0, 1], "d": [0, 1], "e": [0, 1, 2], "dimension": [10, 20, 30]}
    roles = assign_roles(make_summary(axes), ())
    assert roles.fixed == {"e": 1, "dimension": 2}


def test_several_features_are_an_axis(make_summary: MakeSummary) -> None:
    assert make_summary({"kurtosis": [1, 2]}, features=2).axes == ("kurtosis", "feature")


def test_an_experiment_without_axes_is_refused(make_summary: MakeSummary) -> None:
    with pytest.raises(ClhdError, match="has no axis with more than one value"):
        assign_roles(make_summary({"kurtosis": [1]}), ())


def test_thinning_keeps_both_ends_and_ticks_are_evenly_spaced() -> None:
    assert thin(5, 8) == [0, 1, 2, 3, 4]
    assert thin(9, 3) == [0, 4, 8]
    assert spread_ticks(10, 5) == [0, 3, 6, 9]
    assert spread_ticks(1, 5) == [0]


def test_numbers_stand_at_their_value_and_words_side_by_side() -> None:
    places, logarithmic, labels = find_places(xr.DataArray([10, 100, 1000], dims="x"))
    assert (places.tolist(), logarithmic, labels) == ([10, 100, 1000], True, None)
    assert not find_places(xr.DataArray([0.0, 100.0], dims="x"))[1]
    places, _, labels = find_places(xr.DataArray(np.array(["k=1", "k=2"], dtype=np.dtypes.StringDType()), dims="x"))
    assert (places.tolist(), labels) == ([0, 1], ["k=1", "k=2"])


def test_points_that_are_not_all_ok_are_counted(make_summary: MakeSummary) -> None:
    summary = make_summary({"kurtosis": [1, 2], "dimension": [10, 20]}, failed={"kurtosis": 0, "dimension": 1})
    assert summary.totals["failed"] == 16
    assert summary.totals["ok"] == 48
    assert int(summary.incomplete.sum()) == 1


def test_a_range_beyond_the_largest_ratio_is_logarithmic_without_a_warning() -> None:
    for values in ([5e-324, 1e49], [1e-300, 1e308]):
        assert find_places(xr.DataArray(values, dims="a"))[1] is True
    assert find_places(xr.DataArray([1e308, 1.1e308], dims="a"))[1] is False
