"""The system "saddle": which starts are driven to a saddle by gradient descent with Laplacian smoothing."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.declarations import Words, choice, count, describe, number, output
from clhd.systems.protocol import System
from clhd.systems.saddle.model import SCHEDULES, make_saddle
from clhd.systems.saddle.simulation import simulate_saddle
from clhd.systems.saddle.theory import predict_saddle

_STEP_SECONDS = 6e-6  # measured at n = 6 and n = 64: a step, and what grows with the matrix
_ENTRY_SECONDS = 6e-9


class SaddleSystem(System):
    """x <- x - eta A^-1 H x with A = I - sigma(k) L: one replica is one Hessian, with the theory of that Hessian."""

    title = "attraction region of a quadratic saddle under Laplacian smoothing"
    time = None
    limit = "limit of many steps"
    quantity = "attraction_dimension"
    equations = """f(x) = x'Hx / 2, H with m negative eigenvalues and norm 1;  x(k+1) = x(k) - eta A(k)^-1 H x(k)
A(k) = I - sigma(k) L, L the periodic second difference: eigenvalues 1 + 4 sigma(k) sin^2(pi j/n)
schedules: 0; sigma; sigma (k+1)/(k+C); sigma and 0 in turn; sigma (k+1)^p
Theorem (this project's): 0 < eta < 1 and sigma(k) >= 0 bounded, in any order: the starts that are driven to the saddle
are a subspace of dimension n - m.
The starts that are driven there for every fixed sigma, H = diag(1, ..., 1, -1): x(j) = -x(n-j), x(n) = 0, of dimension
floor((n-1)/2).
docs/systems/saddle.md has the proofs."""
    sources = (
        (
            "Kreusser, Osher, Wang, A Deterministic Gradient-Based Approach to Avoid Saddle Points, arXiv:1901.06827, "
            "of which only the abstract was at hand; the model in this form, theorems and proofs are this project's."
        ),
        "Osher et al., Laplacian Smoothing Gradient Descent, arXiv:1806.06317: the smoothing.",
    )
    parameters = {
        "dimension": count(None, "axes of the space", "n", minimum=3, maximum=64),
        "hessian": choice(
            "canonical",
            "diag(1, ..., 1, -1), or random eigenvectors with eigenvalues of size 0.5 to 1",
            ("canonical", "random"),
            symbol="H",
        ),
        "negative_eigenvalues": count(1, "negative eigenvalues of the Hessian", "m", minimum=1, maximum=63),
        "step_size": number(0.1, "step size", "eta", above=0, maximum=0.99, units="1 / norm of the Hessian"),
        "schedule": choice("ratio", "strength of the smoothing", SCHEDULES),
        "smoothing": number(1.0, "strength of the smoothing, by the schedule", "sigma", minimum=0, maximum=1e6),
        "ratio_constant": number(10.0, "C of (k+1)/(k+C)", "C", minimum=1, maximum=1e6),
        "growth_power": number(1.0, "p of (k+1)^p", "p", minimum=0, maximum=3),
        "first_step": count(0, "step index at which the scheme begins", minimum=0, maximum=1e6),
        "descent_steps": count(4000, "steps; the exponents leave out the first quarter", "K", minimum=400, maximum=1e6),
        "largest_dimension": count(
            12, "room for exponents and normal in the results", minimum=3, maximum=64, can_vary=False
        ),
    }
    outputs = {
        "attraction_dimension": output(
            (),
            "dimension of the attraction region",
            "d",
            description="directions that shrink by more than e^5",
            may_be_nan=True,  # in theory, where nothing is proved
        ),
        "common_dimension": output(
            (),
            "dimension of the common region",
            "d_common",
            description="starts that are attracted from whichever of 30 step indices on; up to dimension 12",
            may_be_nan=True,
        ),
        "stalled_directions": output(
            (), "stalled directions", description="change by less than e^5, either way", in_theory=False
        ),
        "largest_exponent": output((), "largest exponent", "lambda_1", "1 / step"),
        "slowest_contraction": output(
            (), "exponent of the slowest contraction", "lambda_-", "1 / step", may_be_nan=True
        ),
        "escape_step": output(
            (),
            "escape from the saddle",
            "k_f",
            "steps",
            "first f < -1, from 1e-6 off the region of gradient descent",
            may_be_nan=True,
            in_theory=False,
        ),
        "lyapunov_exponent": output(("growth_rank",), "exponent", "lambda", "1 / step", may_be_nan=True),
        "normal_vector": output(("axis_index",), "normal of the attraction region", "l", may_be_nan=True),
    }
    claims = {f"L{k}": f"clhd.systems.saddle.claims:L{k}" for k in (1, 2, 3, 4)}
    figures = {"saddle": "clhd.systems.saddle.figures:plot_saddle"}

    def check(self, values: SimpleNamespace) -> None:
        n, m = values.dimension, values.negative_eigenvalues
        if n > values.largest_dimension:
            raise InputError(f"dimension = {n}: must be at most largest_dimension = {values.largest_dimension}")
        if m >= n:
            raise InputError(f"negative_eigenvalues = {m}: must be less than dimension = {n}")
        if values.hessian == "canonical" and m != 1:
            raise InputError(f"negative_eigenvalues = {m}: must be 1 if hessian = canonical")

    def coordinates(self, values: Mapping[str, Any]) -> Mapping[str, tuple[Sequence[Any], Words]]:
        numbers = range(1, values["largest_dimension"] + 1)
        return {
            "growth_rank": (numbers, describe("place of an exponent, the largest first")),
            "axis_index": (numbers, describe("axis of the space", "j")),
        }

    def estimate_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        return float(values.descent_steps * (_STEP_SECONDS + _ENTRY_SECONDS * values.dimension**2.5))

    def estimate_theory_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        return 2e-3

    def simulate(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        return simulate_saddle(make_saddle(values, random), values.descent_steps, values.largest_dimension, random)

    def predict_run(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        return predict_saddle(make_saddle(values, random), values.largest_dimension)
