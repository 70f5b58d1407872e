"""clhd: the high-dimensional limit of contrastive learning, simulated and solved.

A `ContrastiveModel` describes one to four nonlinear units, trained online on pairs of noisy views. `simulate_sgd` runs
it at a finite dimension; `integrate_ode` and others solve its limit of infinite dimension. `run_experiment` sweeps both
over a grid of parameters, and `open_results` opens the results. All data comes back as labelled xarray.

A `System` is what a sweep computes. You can write your own: docs/own-model.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clhd.core.clusters import count_clusters
    from clhd.errors import ClhdError, ClusterError, ExtraError, FileError, InputError, LockedError, ResultsError
    from clhd.sweep.results.open_results import open_results
    from clhd.sweep.run_experiment import run_experiment
    from clhd.sweep.spec.experiment import read_experiment
    from clhd.systems.contrastive.model.contrastive import ContrastiveModel
    from clhd.systems.contrastive.model.latents import Atoms, Gaussian, Laplace, ThreePoint, TwoPoint, Uniform
    from clhd.systems.contrastive.simulation.sgd import simulate_sgd
    from clhd.systems.contrastive.sweeps.outcomes import selection_probability
    from clhd.systems.contrastive.theory.diffusion.fluctuations import predict_fluctuations
    from clhd.systems.contrastive.theory.flow.ode import integrate_ode
    from clhd.systems.contrastive.theory.states.fixed_points import find_fixed_points
    from clhd.systems.contrastive.theory.states.regions import attraction_region
    from clhd.systems.contrastive.theory.states.separatrix import trace_separatrices
    from clhd.systems.contrastive.theory.states.threshold import learnability_threshold
    from clhd.systems.contrastive.theory.weights.pde import solve_pde
    from clhd.systems.declarations import Cost, NotConvergedError, Output, Outputs, Parameter, Result, Status, describe
    from clhd.systems.plain import generator, status_of
    from clhd.systems.protocol import System
    from clhd.systems.registry import list_systems

# Where the public names live. They are imported at first use: `clhd status` need not wait for compilers and clusters.
_HOMES = {
    name: module
    for module, names in {
        "clhd.core.clusters": "count_clusters",
        "clhd.errors": "ClhdError ClusterError ExtraError FileError InputError LockedError ResultsError",
        "clhd.sweep.results.open_results": "open_results",
        "clhd.sweep.run_experiment": "run_experiment",
        "clhd.sweep.spec.experiment": "read_experiment",
        "clhd.systems.contrastive.model.contrastive": "ContrastiveModel",
        "clhd.systems.contrastive.model.latents": "Atoms Gaussian Laplace ThreePoint TwoPoint Uniform",
        "clhd.systems.contrastive.simulation.sgd": "simulate_sgd",
        "clhd.systems.contrastive.sweeps.outcomes": "selection_probability",
        "clhd.systems.contrastive.theory.states.fixed_points": "find_fixed_points",
        "clhd.systems.contrastive.theory.diffusion.fluctuations": "predict_fluctuations",
        "clhd.systems.contrastive.theory.flow.ode": "integrate_ode",
        "clhd.systems.contrastive.theory.weights.pde": "solve_pde",
        "clhd.systems.contrastive.theory.states.regions": "attraction_region",
        "clhd.systems.contrastive.theory.states.separatrix": "trace_separatrices",
        "clhd.systems.contrastive.theory.states.threshold": "learnability_threshold",
        "clhd.systems.declarations": "Cost NotConvergedError Output Outputs Parameter Result Status describe",
        "clhd.systems.plain": "generator status_of",
        "clhd.systems.protocol": "System",
        "clhd.systems.registry": "list_systems",
    }.items()
    for name in names.split()
}

__all__ = [
    "Atoms", "ClhdError", "ClusterError", "ContrastiveModel", "Cost", "ExtraError", "FileError", "Gaussian",
    "InputError", "Laplace", "LockedError", "NotConvergedError", "Output", "Outputs", "Parameter", "Result",
    "ResultsError", "Status", "System", "ThreePoint", "TwoPoint", "Uniform", "attraction_region", "count_clusters",
    "describe", "find_fixed_points", "generator", "integrate_ode", "learnability_threshold", "list_systems",
    "open_results", "predict_fluctuations", "read_experiment", "run_experiment", "selection_probability",
    "simulate_sgd", "solve_pde", "status_of", "trace_separatrices",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("clhd")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    except ImportError as error:
        from clhd.errors import ExtraError, describe_missing  # noqa: PLC0415 (only then it is needed)

        if line := describe_missing(error):
            raise ExtraError(line) from None
        raise
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
