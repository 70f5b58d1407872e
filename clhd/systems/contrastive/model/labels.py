"""Long name, symbol, unit and meaning of every variable and coordinate; `labelled` builds datasets that carry them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.lazy import xr

# Kinds of fixed points, in the order in which they are listed.
KINDS = ("collapsed", "uninformative", "pure", "mixed")
Variable = tuple[tuple[str, ...], NDArray[Any]]


def _words(long_name: str, symbol: str, units: str, description: str) -> dict[str, str]:
    return {"long_name": long_name, "symbol": symbol, "units": units, "description": description}


WORDS: dict[str, dict[str, str]] = {
    # Coordinates.
    "feature": _words("feature", "j", "1", "index of the feature, from 1"),
    "feature_2": _words("second feature", "k", "1", "index of the feature, from 1"),
    "unit": _words("unit", "i", "1", "index of the unit, from 1"),
    "unit_2": _words("second unit", "k", "1", "index of the unit, from 1"),
    "time": _words("time", "t", "steps per dimension", "step divided by dimension"),
    "replica": _words("replica", "", "1", "index of the independent run, from 0"),
    "coordinate": _words("coordinate", "i", "1", "index of the weight, from 0"),
    "start": _words("start", "", "1", "index of the initial state, from 0"),
    "state": _words("state", "", "1", "index of the fixed point, from 0"),
    "mode": _words("mode", "", "1", "index of the eigenvalue, from 0, by falling real part"),
    "order_parameter": _words("order parameter", "X", "1", "overlap of each feature, then the squared norm"),
    "order_parameter_2": _words("second order parameter", "X", "1", "overlap of each feature, then the squared norm"),
    "outcome": _words("outcome", "", "1", "what a run ended in: feature_1 .. feature_p, none, undecided"),
    "cosine_similarity_1": _words("cosine similarity of feature 1", "S_1", "1", "of the initial state"),
    "cosine_similarity_2": _words("cosine similarity of feature 2", "S_2", "1", "of the initial state"),
    "feature_value": _words("feature value", "xi", "1", "entry of the feature; with several features an index, from 0"),
    "feature_sign": _words("sign of the feature value", "sign(xi)", "1", "-1, 1, and 0 between them if it is sparse"),
    "weight_edge": _words("weight", "w", "1", "at which a distribution function is taken"),
    "weight": _words("weight", "w", "1", "of one coordinate"),
    "curve": _words("curve", "", "1", "index of the separatrix, from 0"),
    "point": _words("point", "", "1", "index along the curve, from 0"),
    # Order parameters and what follows from them.
    "overlap": _words("overlap", "q", "1", "xi_j . w / n"),
    "squared_norm": _words("squared norm", "r", "1", "|w|^2 / n"),
    "cosine_similarity": _words("cosine similarity", "S", "1", "q_j / sqrt(r); undefined at r = 0"),
    "gradient_variance": _words("gradient variance", "D", "1", "E[sum_uv K_uv Delta_u Delta_v], noise in one step"),
    "averaging_error": _words(
        "averaging error", "", "1", "standard error of the worst order parameter by the points of the averages"
    ),
    "diverged": _words("diverged", "", "1", "true if the squared norm passed 1e8; NaN from then on"),
    "not_converged": _words("not converged", "", "1", "true if the integration was given up; NaN then"),
    "weights": _words("weights", "w", "1", "weight vector of the unit"),
    "features": _words("features", "xi", "1", "feature vectors, |xi_j|^2 = n"),
    "distribution": _words(
        "distribution of the weights", "P(w <= x | xi)", "1", "of the coordinates whose feature value has this sign"
    ),
    "density": _words("density of the weights", "rho(w | xi)", "1", "given the feature values of their coordinate"),
    "cell_width": _words("cell width", "", "1", "of the weight axis"),
    "mass_error": _words(
        "mass error", "", "1", "largest deviation from 1 of the mass given feature values after one step, so far"
    ),
    "feature_values": _words("feature values", "xi", "1", "entries of the features of one coordinate"),
    "feature_probability": _words("probability of the feature values", "P(xi)", "1", "of one coordinate"),
    "attractor": _words(
        "attractor", "", "1", "index of the state that the start flows into; -1 not settled, -2 no such start: |S| > 1"
    ),
    "separatrix_1": _words("separatrix", "S_1", "1", "cosine similarity of feature 1 on the border of two regions"),
    "separatrix_2": _words("separatrix", "S_2", "1", "cosine similarity of feature 2 on the border of two regions"),
    "saddle": _words("saddle", "", "1", "index of the state that a start on the separatrix flows to; -1 none"),
    "saddle_distance": _words("distance to the saddle", "", "1", "closest approach of a trajectory, of (q, r)"),
    "probability": _words("selection probability", "P", "1", "share of the random starts that end in the outcome"),
    "probability_lower": _words("lower limit of the selection probability", "", "1", "of the 95 % Wilson interval"),
    "probability_upper": _words("upper limit of the selection probability", "", "1", "of the 95 % Wilson interval"),
    "runs": _words("runs", "", "1", "number of runs that ended in the outcome"),
    "area": _words("area of the attraction region", "", "1", "share of the disc of initial cosine similarities"),
    "velocity": _words("velocity", "dS/dt", "1 / time", "of the cosine similarity, at the initial squared norm"),
    "separatrix": _words("separatrix", "S", "1", "border of two attraction regions, at the initial squared norm"),
    "covariance": _words("covariance", "C", "1", "covariance of sqrt(n) (X_n - x) in the limit"),
    "cosine_similarity_covariance": _words(
        "covariance of cosine similarity", "C_S", "1", "covariance of sqrt(n) (S_n - S) in the limit"
    ),
    # Clusters of clouds.
    "attractors": _words("number of attractors", "N", "1", "clusters of a cloud; theory: stable states"),
    "noise_share": _words("share of the cloud in no cluster", "", "1", ""),
    "cluster_share": _words("share of the cloud in a cluster", "", "1", "from the largest down"),
    "cluster_method": _words("method of clustering", "", "1", ""),
    "cluster_rank": _words("place of a cluster by size", "", "1", ""),
    # Escape and phases.
    "escaped_share": _words("share escaped", "P(T <= t)", "1", "1 if the run has escaped from the uninformative state"),
    "escape_time": _words("escape time", "T", "steps per dimension", "until |S| passes the level"),
    "end_phase": _words("phase", "", "1", "in which a run ends: collapsed, uninformative, informative, diverged"),
    "phase_share": _words("share of the runs", "", "1", "share of the runs that end in the phase"),
    "phase_border_name": _words("border", "", "1", "of the phases; see clhd.systems.contrastive.theory.states.phases"),
    "phase_border": _words("border of a phase", "eta", "1 / time", "learning rate at which a phase ends; NaN: no end"),
    # States of rest.
    "learnability_threshold": _words(
        "learnability threshold", "m*", "1", "second moment above which a feature grows from the uninformative state"
    ),
    "growth_rate": _words(
        "growth rate", "gamma", "1 / time", "of a small overlap with the feature at the uninformative state"
    ),
    "pure_eigenvalue": _words(
        "eigenvalue of the pure state", "mu", "1 / time", "largest real part at the pure state of the feature"
    ),
    "critical_penalty": _words(
        "critical penalty", "lambda_c*", "1", "decorrelation from which on two units that share the feature part"
    ),
    "shared_overlap": _words("shared overlap", "q", "1", "of both units that share the feature, at rest"),
    "joint_rate": _words("joint rate", "", "1 / time", "largest, of deviations of both units from a shared feature"),
    "antisymmetric_rate": _words(
        "antisymmetric rate", "", "1 / time", "largest, of differences of two units that share the feature"
    ),
    "distance_rate": _words(
        "rate of the distance", "", "1 / time", "of the difference, outside the features, of units that share one"
    ),
    "sharing": _words("sharing", "", "1", "which features two units have: same, each, one, none, undecided"),
    "sharing_probability": _words("probability", "P", "1", "share of the runs that end so"),
    "state_cosine_similarity": _words("cosine similarity of the fixed point", "S", "1", "0 at squared norm 0"),
    "state_squared_norm": _words("squared norm of the fixed point", "r", "1", "|w|^2 / n"),
    "state_kind": _words("kind of fixed point", "", "1", "0 collapsed, 1 uninformative, 2 pure, 3 mixed"),
    "state_eigenvalue": _words("eigenvalue of the fixed point", "", "1 / time", "largest real part"),
    "eigenvalues": _words("eigenvalues", "", "1 / time", "of the Jacobian of the ODE"),
    "kind": _words("kind of fixed point", "", "1", "collapsed, uninformative, pure (one overlap) or mixed (several)"),
    "stable": _words("stable", "", "1", "true if all eigenvalues have negative real parts"),
    "marginal": _words("marginal", "", "1", "true if the largest real part is 0 to numerical accuracy"),
    "multiplicity": _words("multiplicity", "", "1", "number of images under the sign symmetries of the model"),
    "residual": _words("residual", "", "1 / time", "largest velocity that is left"),
}
# The squared norm of several units.
GRAM_WORDS = _words("Gram matrix of the units", "R", "1", "w_i . w_k / n; the squared norms are its diagonal")
# The kinds of fixed points of two units.
PAIR_KIND_WORDS = _words(
    "kind of fixed point", "", "1", "none, one, same, each: which features the units have; mixed: a unit has several"
)


def labelled(
    variables: Mapping[str, Variable],
    coordinates: Mapping[str, Any],
    attributes: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Return a dataset whose variables and coordinates carry their `WORDS` as attributes.

    Parameters
    ----------
    variables : mapping of name to (dims, values)
    coordinates : mapping of name to one-dimensional values
    attributes : mapping, optional
        Attributes of the dataset.

    Raises
    ------
    KeyError
        If a name is missing from `WORDS`.
    """
    return xr.Dataset(
        {name: (dims, values, WORDS[name]) for name, (dims, values) in variables.items()},
        {name: ((name,), np.asarray(values), WORDS[name]) for name, values in coordinates.items()},
        attributes,
    )
