"""No integration runs for ever, and one that gives up says so: limits on work, ends of solutions, vanishing norms."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from clhd.systems.contrastive.theory.diffusion import fluctuations
from clhd.systems.contrastive.theory.diffusion.fluctuations import predict_fluctuations
from clhd.systems.contrastive.theory.flow import batch, ode
from clhd.systems.contrastive.theory.flow.batch import BatchIntegrator
from clhd.systems.contrastive.theory.flow.bounds import WorkBudget, check_divergence
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.weights import density
from clhd.systems.contrastive.theory.weights.pde import solve_pde
from clhd.systems.declarations import NotConvergedError
from tests.systems.contrastive.theory.test_ode import model_with

START = {"overlap": [0.3, 0.2], "squared_norm": 1.0}


def test_a_learning_rate_of_1000_has_an_answer(monkeypatch):
    calls = count_calls(monkeypatch)
    flow = integrate_ode(model_with(learning_rate=1000.0, weight_decay=0.0), **START, time=[10.0])
    assert not flow.diverged
    assert not flow.not_converged
    assert 1e4 < flow.squared_norm.item() < 1e6  # about (1.5 eta^2 t)^(2/3)
    assert calls == []  # the steps of the kernel are enough


def count_calls(monkeypatch):
    """A list that grows by one with every evaluation of the right-hand side."""
    calls, velocity = [], Flow.velocity
    monkeypatch.setattr(Flow, "velocity", lambda self, state: calls.append(1) or velocity(self, state))
    return calls


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 50.0, "learning_rate": 1.0}])
def test_a_very_long_time_ends_where_the_trajectory_rests(monkeypatch, changes):
    calls = count_calls(monkeypatch)
    flow = integrate_ode(model_with(**changes), **START, time=[2000.0, 1e9])
    assert not flow.not_converged
    before, after = (flow.isel(time=k) for k in (0, 1))
    np.testing.assert_allclose(after.overlap, before.overlap, rtol=0, atol=1e-7)
    np.testing.assert_allclose(after.squared_norm, before.squared_norm, rtol=0, atol=1e-7)
    assert len(calls) < 2 * ode._EXPLICIT_CALLS  # explicit steps alone would need 1e9


def test_the_implicit_method_goes_on_where_the_explicit_one_stops(monkeypatch):
    times, direct = np.array([0.5, 1.0, 3.0, 8.0]), {"gradient_variance_of": model_with()}
    expected = integrate_ode(model_with(), **START, **direct, time=times)
    monkeypatch.setattr(ode, "_METHODS", (("DOP853", 200), ("BDF", 96_000)))
    found = integrate_ode(model_with(), **START, **direct, time=times)
    assert np.array_equal(found.overlap[0], expected.overlap[0])  # the first times come from the same steps
    np.testing.assert_allclose(found.overlap, expected.overlap, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.squared_norm, expected.squared_norm, rtol=0, atol=1e-8)


def test_too_much_work_is_given_up_with_a_reason_and_costs_no_other_start(monkeypatch):
    monkeypatch.setattr(ode, "_METHODS", (("DOP853", 50), ("BDF", 50)))
    monkeypatch.setattr(ode, "_EXPLICIT_CALLS", 50)
    flow = integrate_ode(model_with(), **START, time=[0.0, 1000.0])
    assert flow.not_converged
    assert not flow.diverged
    assert np.isnan(flow.overlap).all()
    assert flow.attrs["not_converged"].startswith("the ODE was given up at time")
    two = integrate_ode(model_with(), overlap=[[0.3, 0.2], [0.0, 0.0]], squared_norm=[1.0, 0.0], time=[0.0, 1000.0])
    assert two.not_converged.values.tolist() == [True, False]
    assert np.all(two.overlap[1] == 0.0)


def test_the_kernel_gives_up_after_its_steps_too():
    integrator = BatchIntegrator(Flow(model_with(weight_decay=1e6, learning_rate=1.0)))
    states = np.array([[0.3, 0.2, 1.0], [0.0, 0.0, 0.0]])
    outcome = integrator.integrate(states, np.array([1.0]))
    assert integrator.given_up.tolist() == [0]  # 1e6 / 3 steps, and at most 20,000
    assert np.isnan(outcome[0]).all()
    assert np.all(outcome[1, 0, :-1] == 0.0)
    assert batch._MAX_STEPS < 1e6 / 3


@pytest.mark.parametrize("batch", [False, True])
def test_a_norm_that_has_vanished_is_zero_and_has_no_direction(batch):
    model = model_with(weight_decay=10.0, learning_rate=1.0)
    overlap = np.tile([0.3, 0.2], (20, 1)) if batch else [0.3, 0.2]
    flow = integrate_ode(model, overlap=overlap, squared_norm=np.ones(20) if batch else 1.0, time=[0.0, 0.5, 10.0])
    early, late = flow.isel(time=1), flow.isel(time=2)
    assert np.all(early.squared_norm > 1e-6)
    assert np.all(np.abs(early.cosine_similarity) <= 1)
    assert np.all(late.squared_norm == 0.0)
    assert np.all(late.overlap == 0.0)
    assert np.isnan(late.cosine_similarity).all()
    assert not flow.diverged.any()


@pytest.mark.parametrize("by_scipy", [False, True])
def test_relu_units_that_collapse_do_not_diverge(by_scipy):
    """Next to the collapsed state A is infinite for |q|^2 > r, which only errors of an integration reach."""
    model = model_with(activation="relu", weight_decay=2.0)
    flow = integrate_ode(
        model,
        overlap=[0.06, 0.05],
        squared_norm=0.1,
        time=[20.0, 100.0, 200.0, 1000.0],
        gradient_variance_of=model if by_scipy else None,  # with a D of another model, scipy integrates
    )
    assert not flow.diverged
    assert not flow.not_converged
    assert 0 < flow.squared_norm[0] < 1e-3
    assert np.all(flow.squared_norm[1:] == 0.0)


def test_a_small_start_that_grows_keeps_its_digits():
    model = model_with(weight_decay=0.0)
    flow = integrate_ode(model, overlap=[3e-7, 2e-7], squared_norm=1e-12, time=[0.0, 0.1, 1.0])
    assert np.all(flow.squared_norm > 0)
    assert np.isfinite(flow.cosine_similarity).all()


def test_steps_that_become_too_short_are_a_divergence_only_before_a_blow_up():
    slow, fast = (SimpleNamespace(velocity=lambda state, k=k: k * np.asarray(state)) for k in (1.0, 1e9))
    check_divergence(fast, np.array([0.1, 1.0]), 1.0)
    for flow in (slow, SimpleNamespace(velocity=lambda state: np.nan * state)):
        with pytest.raises(NotConvergedError, match="the steps of the ODE become too short at time 1"):
            check_divergence(flow, np.array([0.1, 1.0]), 1.0)


def test_a_solution_that_ends_in_finite_time_still_diverges():
    cubic = replace(model_with(weight_decay=0.0), activation=(0.0, 1.0, 0.0, 1.0))
    flow = integrate_ode(cubic, **START, time=[0.0, 1000.0])
    assert flow.diverged
    assert not flow.not_converged


def test_a_right_hand_side_without_numbers_is_not_a_divergence(monkeypatch):
    velocity = Flow.velocity
    monkeypatch.setattr(Flow, "velocity", lambda self, s: velocity(self, s) * (1.0 if s[-1] > 0.9 else np.nan))
    flow = integrate_ode(model_with(), **START, gradient_variance_of=model_with(), time=[0.0, 10.0])
    assert flow.not_converged
    assert not flow.diverged


def test_a_budget_ends_after_the_step_that_spends_it():
    budget = WorkBudget(2)
    budget.spend(1)
    assert budget(1.0, np.array([1.0])) == np.inf
    budget.spend(1)
    assert budget(2.0, np.array([2.0])) == 0.0
    assert budget.ended_at == 2.0
    assert budget.state == 2.0
    assert budget(1.5, np.array([0.0])) == 0.5  # the solver looks for the event inside the step
    assert budget.state == 2.0


def test_fluctuations_are_given_up_and_not_nan(monkeypatch):
    monkeypatch.setattr(fluctuations, "_MOST_PRODUCTS", 1e7)  # ten evaluations
    with pytest.raises(NotConvergedError, match=r"fluctuations was given up at time .* with squared norm"):
        predict_fluctuations(model_with(), [0.3, 0.2], 1.0, [0.0, 10.0])


def test_fluctuations_under_wide_noise_say_that_they_take_too_much_work():
    with pytest.raises(NotConvergedError, match=r"with squared norm 1e\+04"):
        predict_fluctuations(model_with(), [0.3, 0.2], 1e4, [0.0, 1.0])


def test_a_solver_of_the_fluctuations_that_fails_is_reported(monkeypatch):
    def fail(*_, t_eval, **__):
        return SimpleNamespace(y=np.ones((6, len(t_eval) - 1)))

    monkeypatch.setattr(fluctuations, "integrate", SimpleNamespace(solve_ivp=fail))  # the library is others' as well
    with pytest.raises(NotConvergedError, match="the covariance of the fluctuations was given up"):
        predict_fluctuations(model_with(), [0.3, 0.2], 1.0, [0.0, 1.0, 2.0])


def test_the_density_has_a_limit_on_its_steps(monkeypatch):
    monkeypatch.setattr(density, "_MAX_STEPS", 3)
    with pytest.raises(NotConvergedError, match="the density was given up after 3 steps"):
        solve_pde(model_with(), overlap=[0.3, 0.2], time=[0.0, 5.0], cells=40)
