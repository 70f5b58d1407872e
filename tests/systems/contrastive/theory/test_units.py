"""The ODE of several units: the exact ODE of one unit, symmetries, SGD of two units."""

import numpy as np
import pytest
from scipy import stats

import clhd
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.units.units_flow import UnitsFlow

SIGMAS = stats.norm.isf(5e-6)
OVERLAP, GRAM = np.array([[0.4, 0.2], [0.25, 0.3]]), np.array([[1.0, 0.2], [0.2, 0.8]])


def model(**changes):
    settings = {
        "latents": (clhd.ThreePoint(second_moment=1.56),) * 2,
        "loss": "covariance",
        "units": 2,
        "batch": 4,
        "decorrelation": 1.0,
        "learning_rate": 0.4,
        "weight_decay": 0.3,
        "base_noise_variance": 0.4,
        "augmentation_noise_variance": 0.4,
        "noise_correlation": -0.5,
    }
    return clhd.ContrastiveModel(**(settings | changes))


@pytest.mark.parametrize("background", ["isotropic", "orthogonal"])
@pytest.mark.parametrize("changes", [{}, {"centred": False, "batch": 2}, {"constraint": "sphere", "weight_decay": 0.0}])
def test_without_a_penalty_every_unit_moves_as_one_unit_alone(background, changes):
    several = model(decorrelation=0.0, background=background, **changes)
    gram = np.array([[1.0, 0.2], [0.2, 1.0]]) if several.is_sphere else GRAM
    flows = [UnitsFlow(several, scrambling=k) for k in range(4)]
    sets = np.array([flow.velocity(flow.pack(OVERLAP, gram)) for flow in flows])
    mean, error = sets.mean(axis=0), sets.std(axis=0, ddof=1) / 2
    changed, gram_changed = flows[0].unpack(mean)
    allowed, gram_allowed = flows[0].unpack(error)
    alone = Flow(model(units=1, decorrelation=0.0, background=background, **changes))
    for k in range(2):
        velocity = alone.velocity(np.append(OVERLAP[k], gram[k, k]))
        # A standard error from four sets: 12 of its sizes are passed by chance once in 1000 (Student, 3 degrees).
        assert np.all(np.abs(changed[k] - velocity[:-1]) < 12 * allowed[k])
        if not several.is_sphere:
            assert abs(gram_changed[k, k] - velocity[-1]) < 12 * gram_allowed[k, k]
        assert np.all(allowed[k] < 3e-3), "no power: the averages are not known well enough"


def test_symmetries_of_the_average_are_exact():
    flow = UnitsFlow(model())
    zero = flow.velocity(flow.pack(np.zeros((2, 2)), GRAM))
    np.testing.assert_allclose(zero[:4], 0, atol=1e-13)
    same = flow.pack(np.full((2, 2), 0.3), np.full((2, 2), 0.9))
    overlap, gram = flow.unpack(flow.velocity(same))
    np.testing.assert_allclose(overlap[0], overlap[1], rtol=1e-12)
    np.testing.assert_allclose(gram, np.full((2, 2), gram[0, 0]), rtol=1e-12)


def test_sgd_of_two_units_converges_to_the_ode_and_not_to_that_without_a_penalty():
    start = {"overlap": OVERLAP.tolist(), "squared_norm": GRAM.tolist(), "time": [3.0]}
    run = clhd.simulate_sgd(model(), dimension=10_000, replicas=256, seed=4, **start)
    limit, wrong = (clhd.integrate_ode(model(decorrelation=lam), **start) for lam in (1.0, 0.0))
    assert limit.averaging_error[0] < 3e-3

    def excess(prediction):
        shares = []
        for name in ("overlap", "squared_norm"):
            error = np.hypot(run[name].std("replica", ddof=1) / 16, prediction.averaging_error)
            # 12 standard errors from four sets, as above; the bias is of order 1 / n.
            allowed = 12 * error + 5 / 10_000
            shares.append(float((np.abs(run[name].mean("replica") - prediction[name]) / allowed).max()))
        return max(shares)

    assert excess(limit) < 1
    assert excess(wrong) > 2


def test_with_a_penalty_each_unit_takes_a_feature_of_its_own():
    end = clhd.integrate_ode(model(), overlap=OVERLAP, squared_norm=GRAM, time=[40.0]).isel(time=0)
    assert np.all(np.abs(np.diag(end.overlap) - 0.81) < 0.02)
    assert np.all(np.abs(end.overlap.values[~np.eye(2, dtype=bool)]) < 0.02)


def test_what_is_not_offered_is_refused():
    with pytest.raises(clhd.ClhdError, match="activation = 'relu'"):
        UnitsFlow(model(activation="relu"))
    with pytest.raises(clhd.ClhdError, match="l1_penalty"):
        UnitsFlow(model(l1_penalty=0.1))
    with pytest.raises(clhd.ClhdError, match="units = 2: must be 1 here"):
        Flow(model())
