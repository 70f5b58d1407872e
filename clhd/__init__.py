"""clhd: the high-dimensional limit of contrastive learning, simulated and solved.

A `ContrastiveModel` describes one nonlinear unit trained online on pairs of noisy views. `simulate_sgd` runs it at a
finite dimension; `run_experiment` sweeps it over a grid of parameters, and `open_results` opens what came of it;
everything else solves its limit of infinite dimension. All data comes back as labelled xarray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clhd.errors import ClhdError
    from clhd.model.contrastive import ContrastiveModel
    from clhd.model.latents import Atoms, Gaussian, Laplace, ThreePoint, TwoPoint, Uniform
    from clhd.simulation.sgd import simulate_sgd
    from clhd.sweep.experiment import read_experiment
    from clhd.sweep.results import open_results
    from clhd.sweep.run import run_experiment
    from clhd.systems.outcomes import selection_probability
    from clhd.theory.fixed_points import find_fixed_points
    from clhd.theory.fluctuations import predict_fluctuations
    from clhd.theory.ode import integrate_ode
    from clhd.theory.pde import solve_pde
    from clhd.theory.regions import attraction_region
    from clhd.theory.separatrix import trace_separatrices
    from clhd.theory.threshold import learnability_threshold

# Where the public names live. They are imported at first use: `clhd status` need not wait for compilers and clusters.
_HOMES = {
    "Atoms": "clhd.model.latents",
    "ClhdError": "clhd.errors",
    "ContrastiveModel": "clhd.model.contrastive",
    "Gaussian": "clhd.model.latents",
    "Laplace": "clhd.model.latents",
    "ThreePoint": "clhd.model.latents",
    "TwoPoint": "clhd.model.latents",
    "Uniform": "clhd.model.latents",
    "attraction_region": "clhd.theory.regions",
    "find_fixed_points": "clhd.theory.fixed_points",
    "integrate_ode": "clhd.theory.ode",
    "learnability_threshold": "clhd.theory.threshold",
    "open_results": "clhd.sweep.results",
    "predict_fluctuations": "clhd.theory.fluctuations",
    "read_experiment": "clhd.sweep.experiment",
    "run_experiment": "clhd.sweep.run",
    "selection_probability": "clhd.systems.outcomes",
    "simulate_sgd": "clhd.simulation.sgd",
    "solve_pde": "clhd.theory.pde",
    "trace_separatrices": "clhd.theory.separatrix",
}

__all__ = [
    "Atoms",
    "ClhdError",
    "ContrastiveModel",
    "Gaussian",
    "Laplace",
    "ThreePoint",
    "TwoPoint",
    "Uniform",
    "attraction_region",
    "find_fixed_points",
    "integrate_ode",
    "learnability_threshold",
    "open_results",
    "predict_fluctuations",
    "read_experiment",
    "run_experiment",
    "selection_probability",
    "simulate_sgd",
    "solve_pde",
    "trace_separatrices",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
