"""clhd: the high-dimensional limit of contrastive learning, simulated and solved.

A `ContrastiveModel` describes one nonlinear unit trained online on pairs of noisy views. `simulate_sgd` runs it at a
finite dimension; everything else solves its limit of infinite dimension. All data comes back as labelled xarray.
"""

from clhd.errors import ClhdError
from clhd.model.contrastive import ContrastiveModel
from clhd.model.latents import Atoms, Gaussian, Laplace, ThreePoint, TwoPoint, Uniform
from clhd.simulation.sgd import simulate_sgd
from clhd.systems.selection import selection_probability
from clhd.theory.fixed_points import find_fixed_points
from clhd.theory.fluctuations import predict_fluctuations
from clhd.theory.ode import integrate_ode
from clhd.theory.regions import attraction_region
from clhd.theory.threshold import learnability_threshold

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
    "predict_fluctuations",
    "selection_probability",
    "simulate_sgd",
]
