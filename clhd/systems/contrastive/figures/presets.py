"""Figures of experiments with axes that are always shown the same way, drawn by `clhd.figures.lines`."""

from matplotlib.figure import Figure

from clhd.figures.lines import plot_lines
from clhd.figures.roles import assign_roles
from clhd.sweep.results.summary_reader import Summary

_VARIANCE = "augmentation_noise_variance"


def plot_noise_correlation(summary: Summary) -> tuple[Figure, str]:
    """Draw a quantity against the correlation of the augmentation noise, with the baseline without that noise."""
    wish = ("noise_correlation", _VARIANCE, "dimension")
    has_baseline = assign_roles(summary, wish).colour == _VARIANCE and 0 in summary.dataset[_VARIANCE].values
    remark = "Augmentation noise variance 0 is the baseline without augmentation noise." if has_baseline else ""
    return plot_lines(summary, wish, remark=remark)


def plot_moments(summary: Summary) -> tuple[Figure, str]:
    """Draw the growth of a feature around the learnability threshold: against its second moment, by kurtosis."""
    remark = "Above its value at the start, a feature has grown."
    return plot_lines(summary, ("second_moment", "kurtosis", "dimension"), start=True, remark=remark)
