"""Draw docs/figures/sgd_against_ode.png: learning curves of online SGD at two dimensions over their common limit."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import clhd

MODEL = clhd.ContrastiveModel(
    latents=(clhd.ThreePoint(second_moment=1.5, kurtosis=1.0), clhd.ThreePoint(second_moment=1.5, kurtosis=2.0)),
    activation="tanh",
    learning_rate=0.3,
    weight_decay=0.6,
    base_noise_variance=0.5,
    augmentation_noise_variance=0.5,
    noise_correlation=-1.0,
)
START = {"overlap": [0.3, 0.25], "squared_norm": 1.0, "time": np.linspace(0, 60, 241)}
DIMENSIONS = (100, 10_000)
REPLICAS = 12
COLOURS = ("#0072b2", "#d55e00")  # blue and vermilion: told apart by colour-blind readers too


def plot_learning_curves(axes: plt.Axes, dimension: int) -> None:
    """Draw cosine similarities against time: `REPLICAS` runs of SGD per feature, and the ODE over them."""
    sgd = clhd.simulate_sgd(MODEL, dimension=dimension, replicas=REPLICAS, seed=0, **START)
    theory = clhd.integrate_ode(MODEL, **START)
    for feature, colour in enumerate(COLOURS):
        runs = sgd.cosine_similarity.isel(feature=feature).transpose("time", "replica")
        axes.plot(runs.time, runs, color=colour, alpha=0.35, linewidth=0.7)
        axes.plot([], [], color=colour, label=f"SGD, feature {feature + 1}")
        limit = theory.cosine_similarity.isel(feature=feature)
        axes.plot(limit.time, limit, color="black", linewidth=1.4, linestyle="--")
    axes.plot([], [], color="black", linestyle="--", label="ODE")
    axes.set(title=f"dimension $n$ = {dimension:,}", xlabel="time $t$ (steps / $n$)", xlim=(0, START["time"][-1]))
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    figure, panels = plt.subplots(1, len(DIMENSIONS), figsize=(8, 3.2), sharey=True, layout="constrained")
    for axes, dimension in zip(panels, DIMENSIONS, strict=True):
        plot_learning_curves(axes, dimension)
    panels[0].set_ylabel("cosine similarity $S_j$")
    panels[-1].legend(frameon=False, loc="center right")
    path = Path(__file__).with_suffix(".png")
    figure.savefig(path, dpi=160, metadata={"Software": None})
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
