"""clhd: the high-dimensional limit of contrastive learning, simulated and solved.

A `ContrastiveModel` describes one nonlinear unit trained online on pairs of noisy views. `simulate_sgd` runs it at a
finite dimension; everything else solves its limit of infinite dimension. All data comes back as labelled xarray.
"""

from clhd.errors import ClhdError
from clhd.model.contrastive import ContrastiveModel
from clhd.model.latents import Atoms, Gaussian, Laplace, ThreePoint, TwoPoint, Uniform
from clhd.simulation.sgd import simulate_sgd

__all__ = [
    "Atoms",
    "ClhdError",
    "ContrastiveModel",
    "Gaussian",
    "Laplace",
    "ThreePoint",
    "TwoPoint",
    "Uniform",
    "simulate_sgd",
]
