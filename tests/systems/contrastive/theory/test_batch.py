"""Many trajectories at once: the table is the direct rule, and the kernel is the single integration."""

import time

import numpy as np
import pytest

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Gaussian, ThreePoint, TwoPoint
from clhd.systems.contrastive.theory.averages.pair_averages import average_atoms, pair_rule
from clhd.systems.contrastive.theory.averages.tables import build_table, locate, read_table
from clhd.systems.contrastive.theory.flow import batch
from clhd.systems.contrastive.theory.flow.batch import BatchIntegrator
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.flow.ode import integrate_direct, integrate_ode


def model_with(**changes):
    latents = (ThreePoint(second_moment=1.5, kurtosis=1.5), ThreePoint(second_moment=1.5, kurtosis=2.5))
    return ContrastiveModel(**({"latents": latents, "weight_decay": 0.6} | changes))


def random_states(count, seed=0, largest=1.5, sphere=False):
    rng = np.random.default_rng(seed)
    norms = np.ones(count) if sphere else rng.uniform(0.05, largest, count)
    directions = rng.normal(size=(count, 2))
    directions *= (np.sqrt(norms) * rng.uniform(0, 1, count) / np.linalg.norm(directions, axis=1))[:, None]
    return np.column_stack([directions, norms])


NOISES = {
    "usual": {},
    "opposite views": {"base_noise_variance": 0.0, "augmentation_noise_variance": 1.0, "noise_correlation": -1.0},
    "equal views": {"base_noise_variance": 1.2, "augmentation_noise_variance": 0.0},
    "little": {"base_noise_variance": 0.02, "augmentation_noise_variance": 0.02},
    "none": {"base_noise_variance": 0.0, "augmentation_noise_variance": 0.0},
    "much": {"base_noise_variance": 2.0, "augmentation_noise_variance": 2.0},
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_the_table_is_the_direct_rule(activation, noise):
    rule = pair_rule(model_with(activation=activation, **noise))
    slope, root_last = 3.0, 1.2
    table = build_table(rule, slope, root_last, 1e-10)
    assert table is not None
    assert table.error <= 1e-10
    rng = np.random.default_rng(3)
    for root in (0.0, 0.01, 0.3, *rng.uniform(0, root_last, 6), root_last):
        means = np.append(rng.uniform(-slope * root, slope * root, 100), [slope * root, -slope * root, 0.0])
        direct = np.empty((len(means), len(rule.pairs)))
        average_atoms(rule, means, root**2, direct)
        # Twice the largest error at the points that the table itself has looked at.
        np.testing.assert_allclose(read_table(table, means, root)[:, : len(rule.pairs)], direct, rtol=0, atol=2e-10)


def test_no_stencil_begins_before_the_table():
    # (0 - first) / step is 3 but for rounding, which falls on either side.
    weights = np.empty(8)
    for step in np.random.default_rng(4).uniform(0.01, 0.05, 500):
        assert locate(0.0, -3 * step, step, weights) == 0
        assert weights @ np.arange(8) == pytest.approx(3, abs=1e-12)


def test_a_table_for_an_activation_without_parity_has_both_signs_of_the_mean():
    rule = pair_rule(model_with())._replace(signs=np.zeros(12))
    table = build_table(rule, 2.0, 0.8, 1e-10)
    assert table is not None
    means = np.linspace(-1.2, 1.2, 31)
    direct = np.empty((31, 12))
    average_atoms(rule, means, 0.64, direct)
    np.testing.assert_allclose(read_table(table, means, 0.8)[:, :12], direct, rtol=0, atol=2e-10)


def test_a_table_says_where_it_ends():
    table = build_table(pair_rule(model_with()), 2.0, 0.8, 1e-9)
    assert table is not None
    assert np.all(np.isfinite(read_table(table, np.array([1.6]), 0.8)))
    assert np.all(np.isnan(read_table(table, np.array([0.0]), 0.9)))
    assert np.all(np.isnan(read_table(table, np.array([2.0]), 0.8)))


def test_no_table_is_built_beyond_its_memory():
    assert build_table(pair_rule(model_with()), 1e6, 10.0, 1e-10) is None


CASES = {
    "tanh": {},
    "erf": {"activation": "erf"},
    "sphere": {"constraint": "sphere", "weight_decay": 0.0},
    "skewed latents": {"latents": (TwoPoint(second_moment=1.5, skewness=1.0), ThreePoint(kurtosis=3.0))},
    "relu": {"activation": "relu", "weight_decay": 2.0},
    "spectral": {"loss": "spectral"},
    "spectral, relu on the sphere": {
        "loss": "spectral",
        "activation": "relu",
        "constraint": "sphere",
        "weight_decay": 0.0,
    },
    "polynomial": {"activation": (0.0, 1.0, 0.2, -0.1), "constraint": "sphere", "weight_decay": 0.0},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_a_batch_gives_the_single_trajectories(changes):
    model = model_with(**changes)
    states = random_states(40, sphere=model.is_sphere, largest=0.3 if model.unit.parity == 0 else 1.5)
    time = np.array([0.0, 0.7, 3.0, 20.0, 50.0])
    flow = Flow(model)
    outcome = BatchIntegrator(flow).integrate(states, time)
    for i in (0, 13, 29):
        single = integrate_direct(flow, states[i], time, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(outcome[i], single, rtol=1e-8, atol=1e-8)


def test_a_batch_keeps_its_promise_of_1e_8():
    flow = Flow(model_with())
    states = random_states(30, seed=5)
    outcome = BatchIntegrator(flow).integrate(states, np.array([50.0]))
    for i in range(0, 30, 6):
        exact = integrate_direct(flow, states[i], np.array([50.0]), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(outcome[i], exact, rtol=0, atol=1e-8)


def test_trajectories_that_leave_the_table_are_run_in_a_larger_one(monkeypatch):
    monkeypatch.setattr(BatchIntegrator, "_largest_root", lambda self, states, times: 0.3)
    flow = Flow(model_with())
    states, time = random_states(30, largest=0.4), np.array([5.0, 50.0])
    integrator = BatchIntegrator(flow)
    outcome = integrator.integrate(states, time)
    assert integrator.table.root_last >= 0.8  # sqrt(r) of the attractors is 0.84
    for i in (2, 17):
        single = integrate_direct(flow, states[i], time, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(outcome[i], single, rtol=0, atol=1e-8)


def test_where_no_table_serves_the_direct_rule_does(monkeypatch):
    flow = Flow(model_with())
    states, time = random_states(17), np.array([5.0])
    with_table = BatchIntegrator(flow).integrate(states, time)
    monkeypatch.setattr(batch, "build_table", lambda *_: None)
    integrator = BatchIntegrator(flow)
    np.testing.assert_allclose(integrator.integrate(states, time), with_table, rtol=0, atol=1e-8)
    assert integrator.table.values.size == 0


def test_a_trajectory_does_not_depend_on_its_company():
    integrator, time = BatchIntegrator(Flow(model_with())), np.array([1.0, 10.0])
    states = random_states(40)
    whole = integrator.integrate(states, time)
    np.testing.assert_array_equal(integrator.integrate(states[::-1], time), whole[::-1])


def test_threads_do_not_change_bits():
    flow, time, states = Flow(model_with()), np.array([1.0, 10.0]), random_states(200)
    one, three = BatchIntegrator(flow), BatchIntegrator(flow, threads=3)
    np.testing.assert_array_equal(three.integrate(states, time), one.integrate(states, time))
    # Without a table, and with so few steps that some trajectories are given up.
    short = [BatchIntegrator(flow, most_direct_steps=8, threads=threads) for threads in (1, 3)]
    for integrator in short:
        integrator._wants_table = lambda starts: False
    np.testing.assert_array_equal(*(integrator.integrate(states, np.array([3.0])) for integrator in short))
    assert 0 < len(short[0].given_up) < len(states)
    np.testing.assert_array_equal(short[0].given_up, short[1].given_up)


def test_an_interrupt_ends_the_chunks_that_wait(monkeypatch):
    begun = []

    def interrupt(*_):
        begun.append(None)
        if len(begun) == 1:
            raise KeyboardInterrupt
        time.sleep(0.05)  # with all chunks, 5 s

    integrator = BatchIntegrator(Flow(model_with()), threads=2)
    monkeypatch.setattr(batch, "integrate_chunk", interrupt)
    integrator._wants_table = lambda starts: False
    with pytest.raises(KeyboardInterrupt):
        integrator.integrate(random_states(64 * 200), np.array([1.0]))
    assert len(begun) < 200


def test_many_starts_of_gaussian_latents_keep_their_directions():
    # Rotation symmetry, with some two thousand atoms read from the table.
    model = model_with(latents=(Gaussian(second_moment=1.5),) * 2)
    angles = np.linspace(0, np.pi / 2, 6)
    starts = 0.4 * np.column_stack([np.cos(angles), np.sin(angles)])
    last = integrate_ode(model, overlap=starts, time=[2.0]).isel(time=-1)
    lengths = np.linalg.norm(last.overlap, axis=1)
    np.testing.assert_allclose(last.overlap / lengths[:, None], starts / 0.4, rtol=0, atol=1e-7)
    np.testing.assert_allclose(lengths, lengths[0], rtol=0, atol=1e-8)


def test_a_trajectory_that_ends_early_is_where_it_would_have_ended():
    model = model_with(learning_rate=0.3)
    integrator, starts, times = BatchIntegrator(Flow(model)), random_states(40), np.array([2000.0])
    ends = integrator.integrate(starts, times)[:, -1, :-1]
    targets = np.unique(np.round(ends, 9), axis=0)
    early = integrator.integrate(starts, times, targets=targets, reach=1e-3)[:, -1, :-1]
    distance = np.linalg.norm(early - ends, axis=1)
    assert distance.max() < 1e-3 * (1 + 1e-6)
    assert distance.min() > 1e-5  # it did end early


def test_few_starts_use_the_table_of_an_earlier_call():
    integrator, times = BatchIntegrator(Flow(model_with())), np.array([20.0])
    starts = random_states(60)
    many = integrator.integrate(starts, times)
    table = integrator.table
    few = integrator.integrate(starts[:2], times)
    assert integrator.table is table
    assert np.array_equal(few, many[:2])


def test_what_is_not_made_of_pair_averages_is_refused():
    infonce = model_with(loss="infonce")
    with pytest.raises(ClhdError, match="loss = 'infonce': must be covariance or bilinear or spectral"):
        BatchIntegrator(Flow(infonce))
    switched = Flow(model_with(), gradient_variance_of=model_with(noise_correlation=-1.0))
    with pytest.raises(ClhdError, match="gradient_variance_of: must be None"):
        BatchIntegrator(switched)
    assert not switched.has_pair_averages
    assert Flow(model_with()).has_pair_averages
