"""The system "one_layer": units with or without a nonlinearity climb to the optima of a contrastive energy."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.declarations import Words, choice, count, describe, number, output
from clhd.systems.one_layer.simulation import expect_steps, list_sizes, simulate_layer
from clhd.systems.one_layer.theory import predict_layer
from clhd.systems.protocol import System

_STEP_SECONDS, _CASE_SECONDS = 1.0e-9, 1e-5  # measured: of one unit and pattern; of one case of the enumeration


class OneLayerSystem(System):
    """One replica is a layer of units that do not know each other, each from a start of its own."""

    title = "optima of one unit, by its nonlinearity"
    time = None
    quantity = "optima"
    equations = """patterns x(1..M), unit vectors with x(i).x(j) = c, of probabilities p(m);  h(m) = h(w.x(m)), |w| = 1
E(w) = Var h / 2 = [sum p h^2 - (sum p h)^2] / 2;  dw/dt = (I - ww') sum p(m) (h(m) - mean h) h'(w.x(m)) x(m)
linear: one optimum up to sign, the top eigenvector of sum p x x' - mean mean'
relu, c = 0: M optima w = x(m) with E = p(m) (1 - p(m))/2;  relu, any c: all optima by enumeration of 3^M cases
dead units, w.x(m) < 0 for all m: a share 2^-M of the sphere at c = 0
docs/systems/one_layer.md derives them."""
    sources = (
        (
            "Y. Tian, Understanding the Role of Nonlinearity in Training Dynamics of Contrastive Learning, "
            "arXiv:2206.01342, of which only the abstract was at hand; model, equations and enumeration are this "
            "project's."
        ),
    )
    parameters = {
        "pattern_count": count(6, "patterns, and dimensions", "M", minimum=2, maximum=10),
        "pattern_overlap": number(0.0, "scalar product of two patterns", "c", above=-1, maximum=0.99),
        "probability_ratio": number(
            3.0, "probability of the first pattern over that of the last; linear", minimum=1, maximum=1000
        ),
        "activation": choice("relu", "activation", ("relu", "linear")),
        "layer_units": count(1000, "units of a layer", minimum=1, maximum=100_000, in_theory=False, can_vary=False),
        "ascent_steps": count(60_000, "largest number of steps", minimum=1, maximum=10_000_000, in_theory=False),
        "first_step_size": number(4.0, "step size at first", above=0, maximum=4, units="time", in_theory=False),
        "room_for_optima": count(16, "room for optima in the results", minimum=1, maximum=1000, can_vary=False),
    }
    outputs = {
        "optima": output((), "optima", description="theory: enumerated; simulation: distinct ends of live units"),
        "optimum_energy": output(("optimum_rank",), "energy of an optimum", "E", may_be_nan=True),
        "basin_share": output(("optimum_rank",), "share of the units that end at an optimum", in_theory=False),
        "dead_share": output((), "share of dead units", description="no pattern activates them"),
        "optima_found": output(
            ("layer_size",), "optima found", description="by the first units of the layer", in_theory=False
        ),
    }
    claims = {name: f"clhd.systems.one_layer.claims:{name}" for name in ("T1", "T2")}
    figures = {"one_layer": "clhd.systems.one_layer.figures:plot_optima"}
    theory_version = 2  # a sum that does not depend on the threads of a BLAS

    def check(self, values: SimpleNamespace) -> None:
        least = -1 / (values.pattern_count - 1)
        if values.pattern_overlap <= least:
            raise InputError(
                f"pattern_overlap = {values.pattern_overlap:g}: must be greater than -1/(pattern_count - 1) = {least:g}"
            )

    def coordinates(self, values: Mapping[str, Any]) -> Mapping[str, tuple[Sequence[Any], Words]]:
        ranks = range(1, values["room_for_optima"] + 1)
        return {
            "optimum_rank": (ranks, describe("place of an optimum, the highest first")),
            "layer_size": (list_sizes(values.get("layer_units", 1)), describe("units")),  # the theory has no layers
        }

    def estimate_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        return float(1e-3 + _STEP_SECONDS * values.layer_units * values.pattern_count * expect_steps(values))

    def estimate_theory_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        return float(1e-3 + _CASE_SECONDS * 3**values.pattern_count)

    def simulate(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        return simulate_layer(values, random)

    def predict(self, values: SimpleNamespace, time: FloatArray) -> Mapping[str, Any]:
        return predict_layer(values)
