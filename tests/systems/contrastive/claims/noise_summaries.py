"""Made-up summaries for C6 and C7, in which everything holds unless a test changes it."""

import numpy as np
import xarray as xr

from tests.systems.contrastive.claims.attraction_summaries import make_summary

VARIANCE = [0.0, 0.5, 1.0]
CORRELATION = [-1.0, 0.0, 1.0]
DIMENSION = [100, 1000]
MOMENT = [1.0, 2.0]
BASE = [0.5, 1.0]
CASES = ["linear", "tanh"]
UNITS = ["tanh", "erf", "relu", "linear"]
SWITCHES = ["both", "drift", "gradient_variance"]
STATUS = ["not_run", "ok", "diverged", "not_converged", "failed"]


def describe(similarity, growth=0.1, *, overlap=None):
    """Theory of a grid at times 0, 10 and 20, at rest from 10 on."""
    at_start = xr.full_like(similarity, 0.5)
    in_time = xr.concat([at_start, similarity, similarity], xr.DataArray([0.0, 10.0, 20.0], dims="time", name="time"))
    in_time = in_time.transpose(..., "time").expand_dims(feature=[1], axis=-1)
    rate = xr.full_like(similarity, growth).expand_dims(feature=[1], axis=-1)
    return xr.Dataset(
        {
            "cosine_similarity_theory": in_time,
            "overlap_theory": in_time if overlap is None else xr.full_like(in_time, overlap),
            "growth_rate_theory": rate,
            "gradient_variance_theory": in_time.isel(feature=0, drop=True) * 0 + 1,
        }
    )


def add_simulation(theory, similarity, error):
    mean = describe(similarity)["cosine_similarity_theory"]
    mean = mean.expand_dims(dimension=DIMENSION, axis=-3)
    counts = xr.DataArray(np.zeros((2, 5), int), {"dimension": DIMENSION, "status": STATUS}, ("dimension", "status"))
    return theory.assign(
        cosine_similarity_mean=mean,
        cosine_similarity_standard_error=xr.full_like(mean, error),
        cosine_similarity_theory=theory["cosine_similarity_theory"].expand_dims(dimension=DIMENSION, axis=-3).copy(),
        replica_count=counts,
    )


def make_setting(*, fall=0.1, rise=0.05, error=0.001, sgd_fall=None):
    """S = 0.9 - fall * variance - rise * variance * correlation."""
    variance = xr.DataArray(VARIANCE, {"augmentation_noise_variance": VARIANCE}, "augmentation_noise_variance")
    correlation = xr.DataArray(CORRELATION, {"noise_correlation": CORRELATION}, "noise_correlation")
    theory, sgd = (0.9 - slope * variance - rise * variance * correlation for slope in (fall, sgd_fall or fall))
    return make_summary("noise_correlation", add_simulation(describe(theory), sgd, error))


def make_map(change=None, *, growth=0.1, overlap=None):
    """Independent noise over second moment and base noise; `change` is given the similarity to alter it."""
    coordinates = {"second_moment": MOMENT, "base_noise_variance": BASE, "augmentation_noise_variance": VARIANCE[:2]}
    similarity = xr.DataArray(np.zeros([2, 2, 2]), coordinates, tuple(coordinates))
    similarity = similarity + 0.9 - 0.1 * similarity.augmentation_noise_variance
    if change is not None:
        change(similarity)
    return make_summary("noise_map", describe(similarity, growth, overlap=overlap))


def make_cases(*, variance_part=(1.0, 0.8), error=0.001, sgd_shift=0.0, gain=0.05):
    """S = 0.8 - gain * correlation, of which `variance_part` remains in each case if it enters D alone."""
    correlation = xr.DataArray(CORRELATION, {"noise_correlation": CORRELATION}, "noise_correlation")
    part = xr.DataArray(
        [[1.0, 1 - x, x] for x in variance_part],
        {"case": CASES, "correlation_acts_on": SWITCHES},
        ("case", "correlation_acts_on"),
    )
    theory = 0.8 - gain * (part * correlation).transpose("case", "noise_correlation", "correlation_acts_on")
    sgd = theory.sel(correlation_acts_on="both", drop=True) + sgd_shift
    return make_summary("noise_mechanism", add_simulation(describe(theory), sgd, error))


def make_places(change=None, *, part=0.8, batch=True):
    """Four units, two backgrounds, base noise below and above 0.5: of the gain of 0.05, D alone gives a part.

    Along the dim ``noise``: none 0.9, negative 0.85, the same in D alone, independent 0.8.
    """
    coordinates = {
        "case": [f"{name}, none" for name in UNITS],
        **({"batch": [2, 4]} if batch else {}),
        "background": ["isotropic", "orthogonal"],
        "base_noise_variance": [0.25, 1.0],
        "learning_rate": [0.5],
        "noise": list("abcd"),
    }
    shape = [len(values) for values in coordinates.values()]
    values = np.broadcast_to(np.array([0.9, 0.85, 0.8 + 0.05 * part, 0.8]), shape).copy()
    similarity = xr.DataArray(values, coordinates, tuple(coordinates))
    if change is not None:
        change(similarity)
    theory = describe(similarity)
    theory["growth_rate_theory"].loc[{"noise": "c"}] = np.nan  # a switched theory has none
    theory["gradient_variance_theory"].loc[{"noise": "b"}] = 0.9
    theory = theory.assign_coords(
        activation=("case", UNITS),
        augmentation_noise_variance=("noise", [0.0, 0.5, 0.5, 0.5]),
        noise_correlation=("noise", [0.0, -1.0, -1.0, 0.0]),
        correlation_acts_on=("noise", ["both", "both", "gradient_variance", "both"]),
    )
    return make_summary("noise_where", theory)


def make_drawn(*, shift=0.0, shifted=3, error=0.001):
    """Twenty drawn places with three noises; at the first few, SGD is shifted from the ODE."""
    similarity = xr.DataArray(np.full((20, 3), 0.8), {"place": np.arange(20), "noise": list("abd")}, ("place", "noise"))
    theory = describe(similarity)
    mean = theory["cosine_similarity_theory"].copy()
    mean[:shifted] += shift
    return make_summary(
        "noise_where_drawn",
        theory.assign(cosine_similarity_mean=mean, cosine_similarity_standard_error=xr.full_like(mean, error)),
    )
