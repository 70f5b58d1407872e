"""Phase portraits as a system: the velocity is that of the ODE, and padding is NaN."""

import numpy as np
import pytest

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.labels import KINDS
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.registry import find_system

SYSTEM = find_system("portrait")
VALUES = {
    "features": 2,
    "second_moment": 1.5,
    "kurtosis_1": 1.0,
    "kurtosis_2": 1.5,
    "learning_rate": 0.3,
    "weight_decay": 0.6,
    "base_noise_variance": 0.25,
    "augmentation_noise_variance": 0.25,
    "noise_correlation": -1.0,
    "nodes": 21,
}


def test_a_loss_that_does_not_factorise_is_refused():
    with pytest.raises(ClhdError, match="loss = 'infonce': must be covariance or bilinear or spectral"):
        SYSTEM.theory.point(VALUES | {"loss": "infonce"}, 0)


@pytest.fixture(scope="module")
def portrait():
    outputs = SYSTEM.theory.outputs(VALUES)
    result = SYSTEM.theory.compute([SYSTEM.theory.point(VALUES, 0)], np.array([0.0]), [])
    for name, output in outputs.variables.items():
        sizes = [len(outputs.coordinates[dim][0]) for dim in output.dims]
        assert list(result.values[name].shape) == [1, *sizes]
    return {name: values[0] for name, values in result.values.items()}


def test_the_velocity_is_that_of_a_trajectory(portrait):
    grid, step = np.linspace(-1, 1, 21), 1e-4
    for i, j in ((12, 15), (3, 8), (10, 17)):
        start = np.array([grid[i], grid[j]])
        later = integrate_ode(SYSTEM.theory.point(VALUES, 0).model, overlap=start, squared_norm=1.0, time=[step])
        change = (later.cosine_similarity.values[0] - start) / step
        np.testing.assert_allclose(portrait["velocity"][i, j], change, rtol=0, atol=1e-3)


def test_outside_of_the_disc_there_is_nothing(portrait):
    assert np.isnan(portrait["velocity"][0, 0]).all()
    assert portrait["attractor"][0, 0] == -2


def test_separatrices_part_the_regions_of_the_map(portrait):
    """On both sides of each curve, a cell away from it, the map has two different attractors."""
    curves = portrait["separatrix"][~np.isnan(portrait["separatrix"]).all(axis=(1, 2))]
    assert len(curves) == 4
    assert np.nanmax(portrait["saddle_distance"]) < 1e-4
    for first, second in curves[:, 40]:
        radius, angle = np.hypot(first, second), np.arctan2(second, first)
        sides = [radius * np.array([np.cos(angle + a), np.sin(angle + a)]) for a in (-0.25, 0.25)]
        cells = [np.rint((side + 1) * 10).astype(int) for side in sides]
        assert portrait["attractor"][tuple(cells[0])] != portrait["attractor"][tuple(cells[1])]


def test_fixed_points_have_kinds_and_eigenvalues(portrait):
    kinds = portrait["state_kind"]
    found = [KINDS[int(kind)] for kind in kinds[np.isfinite(kinds)]]
    assert {kind: found.count(kind) for kind in KINDS} == {"collapsed": 1, "uninformative": 0, "pure": 4, "mixed": 4}
    stable = portrait["state_eigenvalue"][: len(found)] < 0
    assert [KINDS[int(kind)] for kind in kinds[: len(found)][stable]] == ["pure"] * 4
    assert np.isnan(portrait["state_eigenvalue"][len(found) :]).all()


def test_there_is_no_simulation_and_no_time() -> None:
    assert not SYSTEM.simulation.outputs({}).variables
    assert SYSTEM.time is None


def test_bad_input_gets_one_sentence():
    with pytest.raises(ClhdError, match="features: must be given"):
        SYSTEM.theory.point({name: value for name, value in VALUES.items() if name != "features"}, 0)


def test_a_portrait_on_the_sphere_has_the_manifolds_of_its_saddles():
    values = VALUES | {"constraint": "sphere", "weight_decay": 0.0, "nodes": 5}
    portrait = SYSTEM.theory.compute([SYSTEM.theory.point(values, 0)], np.array([0.0]), []).values
    assert np.sum(~np.isnan(portrait["separatrix"][0, :, 0, 0])) == 8
