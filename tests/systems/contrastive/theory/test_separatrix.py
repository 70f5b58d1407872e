"""Separatrices: by symmetry known, by two methods equal, and proved by the saddle they lead to."""

import numpy as np
import pytest
import xarray as xr

import clhd
from clhd.systems.contrastive.theory.states import separatrix
from clhd.systems.contrastive.theory.states.regions import attraction_region
from clhd.systems.contrastive.theory.states.separatrix import measure_regions, trace_stable_manifolds, track_edges
from clhd.systems.contrastive.theory.states.threshold import growth_rates
from tests.systems.contrastive.theory.example import make_model, three_point

RADII = [0.05, 0.3, 0.7, 1.0]


SPHERE = {"constraint": "sphere", "weight_decay": 0.0}


def angles(curves):
    return np.degrees(np.arctan2(curves.separatrix_2.values, curves.separatrix_1.values))


def test_equal_features_part_at_the_diagonals():
    curves = track_edges(make_model(three_point(1.5), three_point(1.5)), radius=RADII)
    assert curves.sizes["curve"] == 4
    np.testing.assert_allclose(np.sort(angles(curves), axis=0)[:, 0], [-135, -45, 45, 135], rtol=0, atol=1e-7)
    np.testing.assert_allclose(np.ptp(angles(curves), axis=1), 0, atol=1e-7)


@pytest.mark.parametrize("changes", [{}, SPHERE], ids=["L2", "sphere"])
def test_kurtosis_2_parts_at_the_angle_of_three_equal_features(changes):
    """A three-point latent of kurtosis 2 is (b + b') / sqrt 2 with two Rademacher numbers.

    So beside a Rademacher latent there are three equal features, two of which share the overlap q_2 / sqrt 2: the
    border is where q_1 equals it.
    """
    curves = track_edges(make_model(three_point(1), three_point(2), **changes), radius=RADII)
    first = angles(curves)[np.all((angles(curves) > 0) & (angles(curves) < 80), axis=1)]
    np.testing.assert_allclose(first, np.degrees(np.arctan(np.sqrt(2))) * np.ones((1, 4)), rtol=0, atol=1e-7)


def test_near_zero_the_border_leaves_the_slower_axis_with_a_power_of_the_radius():
    """Near the node at zero q_1 ~ q_2^(gamma_1 / gamma_2) on it: the angle goes as |S|^(gamma_1 / gamma_2 - 1)."""
    model, radii = make_model(three_point(1), three_point(1, second_moment=1.0)), [1e-2, 3e-3, 1e-3, 3e-4]
    faster, slower = growth_rates(model)
    curves = track_edges(model, radius=radii)
    from_axis = 90 - angles(curves)
    border = from_axis[np.all((from_axis > 0) & (from_axis < 45), axis=1)]
    assert len(border) == 1
    errors = np.diff(np.log(border[0])) / np.diff(np.log(radii)) - (faster / slower - 1)
    # What is left of the start's own norm and of the cubic terms falls with the radius, by about 1.8 in half a decade.
    assert np.all(np.abs(errors[1:]) < np.abs(errors[:-1]) / 1.5)
    assert abs(errors[-1]) < 1e-3


def test_starts_on_an_edge_flow_to_the_saddle():
    curves = track_edges(make_model(three_point(1), three_point(1.5)), radius=RADII)
    assert np.all(curves.kind.values[curves.saddle.values] == "mixed")
    # exp(-lambda_s t) at the time at which the unstable direction has grown from 1e-10: 1e-5 for these eigenvalues.
    assert curves.saddle_distance.max() < 1e-4


def test_edge_tracking_finds_the_stable_manifolds_of_the_sphere():
    settings = make_model(three_point(1), three_point(1.5), **SPHERE)
    manifolds = trace_stable_manifolds(settings)
    radius = np.hypot(manifolds.separatrix_1, manifolds.separatrix_2).values
    for curve in range(manifolds.sizes["curve"]):
        chosen = np.flatnonzero((radius[curve] > 0.05) & (radius[curve] < 1 - 1e-9))[::3]
        edges = track_edges(settings, radius=radius[curve][chosen])
        mine = angles(manifolds)[curve][chosen]
        distance = np.radians(np.abs(angles(edges) - mine).min(axis=0)) * radius[curve][chosen]
        assert np.max(distance) < 1e-6


def test_a_stable_manifold_runs_from_the_repelling_state_to_the_rim():
    manifolds = trace_stable_manifolds(make_model(three_point(1), three_point(1.5), **SPHERE))
    ends = np.hypot(manifolds.separatrix_1, manifolds.separatrix_2).values[:, -1]
    assert np.all((np.abs(ends - 1) < 1e-6) | (np.abs(ends - 1e-3) < 1e-6))


def test_where_one_feature_alone_is_stable_the_axis_parts_its_signs():
    curves = track_edges(make_model(three_point(1), three_point(3)), radius=RADII)
    np.testing.assert_allclose(curves.separatrix_1, 0, atol=1e-9)
    assert np.all(curves.kind.values[curves.saddle.values] == "pure")


def test_a_saddle_that_lets_go_slowly_has_its_separatrix_all_the_same():
    """At kurtosis 2.1 the second pure state is unstable at a rate of 0.0025: starts near the axis do not settle."""
    curves = track_edges(make_model(three_point(1), three_point(2.1)), radius=[0.3, 0.8])
    on_axis = np.abs(np.abs(angles(curves)) - 90).max(axis=1) < 5
    assert on_axis.sum() == 2
    np.testing.assert_allclose(np.abs(angles(curves)[on_axis]), 90, rtol=0, atol=1e-6)


def test_areas_are_the_shares_of_a_grid(monkeypatch):
    settings = make_model(three_point(1), three_point(1.5))
    states, share, area = measure_regions(settings)
    # Cell centres: no start on a diagonal, 2000 cells to a quarter of the disc.
    grid = (np.arange(100) - 49.5) / 50
    region = attraction_region(settings, cosine_similarity_1=grid, cosine_similarity_2=grid)
    inside = region.attractor.values >= 0
    counted = np.bincount(region.attractor.values[inside], minlength=states.sizes["state"]) / inside.sum()
    # The borders run through some 200 of the 7854 cells, each counted whole: by chance an error of 200^(1/2) / 2 cells,
    # 9e-4, and two of these are allowed.
    np.testing.assert_allclose(area[:-1], counted, rtol=0, atol=2e-3)
    # The border is smooth: Gauss's rule has converged with half of the nodes.
    monkeypatch.setattr(separatrix, "_AREA_NODES", 24)
    np.testing.assert_allclose(measure_regions(settings)[2], area, rtol=0, atol=1e-7)
    assert share.sum() == pytest.approx(1, abs=1e-12)
    assert area.sum() == pytest.approx(1, abs=1e-12)


def test_slow_learning_settles_as_well():
    """As the learning rate falls, the flow tends to that of the average loss, run more and more slowly."""
    laws = three_point(1, second_moment=3.0), three_point(1, second_moment=2.0)
    faster, slower = (measure_regions(make_model(*laws, learning_rate=rate))[1:] for rate in (0.01, 0.0005))
    for known, found in zip(faster, slower, strict=True):
        assert found[-1] == 0
        np.testing.assert_allclose(np.sort(found), np.sort(known), rtol=0, atol=1e-3)


def test_the_share_of_random_directions_is_an_angle():
    _, share, _ = measure_regions(make_model(three_point(1), three_point(2)))
    expected = np.arctan(np.sqrt(2)) / (np.pi / 2)
    assert np.sort(share)[-2:].sum() == pytest.approx(expected, abs=1e-9)


def test_a_narrow_region_has_both_of_its_borders():
    """At this radius the slower feature's regions are 1.6 degrees wide, and the first starts are 7.5 degrees apart.

    Halving meets such a region from one side. All up to the next border was counted to it: its share was 1.
    """
    model, radius = make_model(three_point(1), three_point(1, second_moment=0.9)), 0.01
    assert track_edges(model, radius=[radius]).sizes["curve"] == 4
    states, share, _ = measure_regions(model, radius=radius)
    half = share[:-1][states.overlap.values[:, 1] != 0].sum() * np.pi / 2  # each of two regions lies around its axis
    angle = np.pi / 2 - half * np.array([0.999, 1.001])
    starts = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    ends = clhd.integrate_ode(model, overlap=starts, time=[400.0]).cosine_similarity.values[:, 0]
    assert np.argmax(np.abs(ends), axis=1).tolist() == [1, 0]


class OneNarrowRegion:
    """Destinations of which state 1, at 40 degrees, attracts a cone of 2 degrees, and state 0 all around it."""

    def __init__(self, model: clhd.ContrastiveModel) -> None:
        overlap = 0.8 * np.array([[0, 0], [np.cos(np.radians(40)), np.sin(np.radians(40))]])
        self.states = xr.Dataset({"overlap": (("state", "feature"), overlap), "stable": ("state", [True, True])})

    def assign(self, starts):
        angle = np.degrees(np.arctan2(starts[:, 1], starts[:, 0]))
        return (np.abs(angle - 40.3) < 1).astype(np.int64)


def test_a_narrow_region_within_another_is_found(monkeypatch):
    """The evenly spaced starts, 7.5 degrees apart, are all in the other region: its share was 1."""
    monkeypatch.setattr(separatrix, "Destinations", OneNarrowRegion)
    _, share, area = measure_regions(make_model(three_point(1), three_point(1)))
    np.testing.assert_allclose([share, area], [[358 / 360, 2 / 360, 0]] * 2, rtol=0, atol=1e-9)


ON_SPHERE = make_model(three_point(1), three_point(1), **SPHERE)
INFONCE = make_model(three_point(1), three_point(1), loss="infonce")
BAD_INPUT = {
    "one feature": ({"model": make_model(three_point(1))}, "latents: 1 given, must be 2 for a plane"),
    "radius": ({"radius": [0.0]}, r"radius = \[0.0\]: must be one or more numbers above 0, up to 1"),
    "norm": ({"squared_norm": 0}, "squared_norm = 0: must be a finite number greater than 0"),
    "norm on the sphere": (
        {"model": ON_SPHERE, "squared_norm": 2.0},
        r"squared_norm = 2\.0: must be 1 with constraint",
    ),
    "loss": ({"model": INFONCE}, "loss = 'infonce': must be covariance or bilinear or spectral"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence(case):
    change, message = BAD_INPUT[case]
    settings = {"model": make_model(three_point(1), three_point(1)), "radius": [0.5]} | change
    plain = {name: value for name, value in settings.items() if name == "squared_norm"}
    with pytest.raises(clhd.ClhdError, match=message):
        track_edges(settings["model"], radius=settings["radius"], **plain)
    if "radius" not in change:
        for measure in (measure_regions, clhd.trace_separatrices):
            with pytest.raises(clhd.ClhdError, match=message):
                measure(settings["model"], **plain)


def test_stable_manifolds_need_the_sphere():
    with pytest.raises(clhd.ClhdError, match="constraint = 'none': must be 'sphere'"):
        trace_stable_manifolds(make_model(three_point(1), three_point(1)))


def test_separatrices_are_manifolds_on_the_sphere_and_sections_under_l2():
    laws = three_point(1), three_point(1.5)
    on_sphere, under_l2 = (clhd.trace_separatrices(make_model(*laws, **changes), points=8) for changes in (SPHERE, {}))
    np.testing.assert_allclose(np.hypot(under_l2.separatrix_1, under_l2.separatrix_2)[0], np.arange(1, 9) / 8)
    assert on_sphere.sizes["curve"] == 8  # two of each of the four saddles
    states = on_sphere.overlap.values[on_sphere.saddle.values[:, 0]]
    ends = np.column_stack([on_sphere.separatrix_1[:, 0], on_sphere.separatrix_2[:, 0]])
    np.testing.assert_allclose(ends, states, rtol=0, atol=2e-5)
