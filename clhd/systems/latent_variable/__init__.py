"""The system "latent_variable": a two-layer network solved exactly, beside gradient descent from the same start.

Simulation and theory predict each run from its own random start. Times, and the step, are in units of
1 / (2 a max(K_0, K_inf)), with the tangent kernels at the start and in the end: the loss decays in about one unit.
Derivation and findings: docs/systems/latent_variable.md.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.declarations import Parameter, choice, count, describe, number, output
from clhd.systems.latent_variable.model import Network, find_time_unit, make_network, make_start, measure_modes
from clhd.systems.latent_variable.simulation import descend
from clhd.systems.latent_variable.theory import predict_phase, predict_start
from clhd.systems.protocol import System

_FLOOR = 1e-16  # of abs(kernel_change), before its logarithm: rounding makes less than that
_SECONDS = 2e-4, 1.0e-9  # measured: of one run, and of one step per unit of width


def _exponent(meaning: str, symbol: str) -> Parameter:
    return number(0.0, meaning, symbol, minimum=-4, maximum=4)


class LatentVariableSystem(System):
    """Gradient descent of f(x) = g (u.w) x, and the closed form of gradient flow from the same start."""

    title = "a two-layer network with an exact solution"
    time = describe("time", "t", description="in units of 1 / (2 a max(K_0, K_inf)) of each run's own start")
    quantity = "response"
    parameters = {
        "network_width": count(None, "number of hidden units", "d", minimum=2, maximum=10**7),
        "scale_exponent": _exponent("the output's factor is d^-alpha", "alpha"),
        "rate_exponent_u": _exponent("the learning rate of u is d^-beta", "beta_u"),
        "rate_exponent_w": _exponent("the learning rate of w is d^-beta", "beta_w"),
        "initial_exponent_u": _exponent("entries of u start with standard deviation d^-sigma", "sigma_u"),
        "initial_exponent_w": _exponent("entries of w start with standard deviation d^-sigma", "sigma_w"),
        "second_moment": number(1.0, "second moment of x", "a", above=0),
        "cross_moment": number(1.0, "mean of x y", "b"),
        "step_size": number(0.05, "time of one step", "step", minimum=1e-4, maximum=10),
        "initial": choice("random", "random weights, or fixed ones with their mean squared norms", ("random", "fixed")),
        "initial_alignment": number(
            0.0, "cosine of the angle between u and w of a fixed start", "zeta_0", minimum=-1, maximum=1
        ),
    }
    outputs = {
        "response": output(("time",), "response", "f", description="f(x) / x"),
        "alignment": output(("time",), "alignment", "zeta", description="cosine of u and w", may_be_nan=True),
        "norm_product": output(("time",), "product of the layers' norms", "|u||w|"),
        "tangent_kernel": output(("time",), "tangent kernel", "K"),
        "kernel_change": output((), "relative change of the tangent kernel to the end", "K/K_0-1"),
        "log_kernel_change": output((), "decimal logarithm of the size of the kernel's relative change", "lg|K/K_0-1|"),
        "invariant_drift": output((), "relative drift of what gradient flow conserves", in_theory=False),
        "rule_breaks": output((), "intervals on which alignment or norms move against |f|", in_theory=False),
        "phase_index": output((), "phase index", "e", in_simulation=False),
        "kernel_exponent": output((), "exponent of the kernel's relative change", in_simulation=False),
        "alignment_index": output((), "alignment index", in_simulation=False),
    }
    equations = """\
f(x) = g (u.w) x, loss <(f(x) - y)^2>; a = <x^2>, b = <x y>, s = sqrt(eta_u eta_w), m = u.w
du/dt = 2 eta_u g (b - a g m) w, dw/dt = 2 eta_w g (b - a g m) u
P, M = |u/sqrt(eta_u) +- w/sqrt(eta_w)|^2 at t = 0, h = b/(a g s), kappa = a g^2 s^2, D = sqrt(4 h^2 + P M)
dz/dt = kappa (M + 4 h z - P z^2), z(0) = 1
z = [(1 + k) + (1 - k) E + M F] / [(1 - k) + (1 + k) E + P F], k = 2 h/D, E = exp(-2 kappa D t), F = (1 - E)/D
m = (s/4) (P z - M/z), K = (g^2 s^2/2) (P z + M/z), |u|^2 |w|^2 - m^2 = c^2 is conserved
zeta = m/sqrt(c^2 + m^2), K_inf/K_0 - 1 = 2 D/(P + M) - 1
with g = d^-alpha, eta = d^-beta, entries d^-sigma; A = beta_u - 2 sigma_u, B = beta_w - 2 sigma_w:
e = alpha + (beta_u + beta_w)/2 - 1 - max(A, B); K_inf/K_0 - 1 ~ d^max(2 e, -1 - |A - B|) if e < 0, ~ d^e if e > 0
zeta does not vanish iff e + |A - B|/2 >= 0"""
    sources = (
        "Model and question: Y. Xu and L. Ziyin, arXiv:2401.07085, of which only the abstract was at hand.",
        "Solution, limits, phase diagram and mechanisms as they stand here are this project's own derivation.",
    )
    claims = {name: f"clhd.systems.latent_variable.claims:{name}" for name in ("X1", "X2", "X3", "X4")}
    figures = {
        "mechanisms": "clhd.systems.latent_variable.figures:plot_mechanisms",
        "phases": "clhd.systems.latent_variable.figures:plot_phases",
    }

    theory_version = 2  # the response keeps its digits where the layers differ much in size

    def check(self, values: SimpleNamespace) -> None:
        if values.initial == "random" and values.initial_alignment != 0:
            raise InputError(f"initial_alignment = {values.initial_alignment:g}: must be 0 unless initial is fixed")

    def estimate_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        length = values.network_width if values.initial == "random" else 2
        return float(_SECONDS[0] + _SECONDS[1] * time[-1] / values.step_size * length)

    def estimate_theory_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        return float(_SECONDS[0] + 5e-8 * values.network_width)  # of the start: the closed form costs next to nothing

    def simulate(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        network, u, w, unit = _begin(values, random)
        return _add_logarithm(descend(network, u, w, time=unit * time, step=unit * values.step_size))

    def predict_run(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        network, u, w, unit = _begin(values, random)
        return _add_logarithm(predict_start(network, u, w, unit * time)) | predict_phase(values)


def _begin(values: SimpleNamespace, random: np.random.Generator) -> tuple[Network, FloatArray, FloatArray, float]:
    """The network, its weights at the start, and the unit of time."""
    network, (u, w) = make_network(values), make_start(values, random)
    return network, u, w, find_time_unit(network, *measure_modes(network, u, w))


def _add_logarithm(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, with the logarithm of the kernel's change, whose mean serves changes of either sign."""
    return {**found, "log_kernel_change": np.log10(np.maximum(np.abs(found["kernel_change"]), _FLOOR))}
