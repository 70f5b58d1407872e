"""`plot_experiment`: draw an experiment from its summary, as pdf and png, with a caption beside them.

| figure | function | what it shows |
|---|---|---|
| lines | plot_lines | any experiment: a quantity at the last time against one axis, others by colour and panels |
| noise_correlation | plot_noise_correlation | the same, against the correlation of the augmentation noise |
| moments | plot_moments | the same, against the second moment, by kurtosis |
| dimension | plot_dimension | error against the limit and spread of the runs, by dimension, with fitted slopes |
| grid | plot_grid | maps over two axes, one panel for each value of two more |
| trajectories | plot_trajectories | learning curves, over the limit with its predicted band |

An experiment that plays a part in a claim alone may have no figure of its own, ``none``; one without a simulation has
none unless it asks for one.

A new figure is one function of a `Summary` that returns a figure and its caption, and one entry
in `FIGURES`.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from clhd.errors import ClhdError, explain_unwritable

# Where each figure is drawn. Modules are imported at need: what only checks a name should not wait for matplotlib.
NO_FIGURE = "none"
FIGURES: dict[str, str] = {
    "lines": "clhd.figures.lines:plot_lines",
    "noise_correlation": "clhd.figures.lines:plot_noise_correlation",
    "moments": "clhd.figures.lines:plot_moments",
    "dimension": "clhd.figures.dimension:plot_dimension",
    "grid": "clhd.figures.grid:plot_grid",
    "trajectories": "clhd.figures.trajectories:plot_trajectories",
}


def find_figure(experiment: Mapping[str, Any]) -> str:
    """Name of the figure of an experiment: the declared one, else that of its name, else "lines" or "none".

    Raises
    ------
    ClhdError
        If the declared one is none of `FIGURES`.
    """
    declared = str(experiment.get("figure") or "")
    if declared and declared not in {*FIGURES, NO_FIGURE}:
        raise ClhdError(f"figure = {declared!r}: must be one of {', '.join(sorted({*FIGURES, NO_FIGURE}))}")
    name = str(experiment["name"])
    if declared or name in FIGURES:
        return declared or name
    return NO_FIGURE if experiment.get("replicas") == 0 else "lines"


def plot_experiment(summary_path: str | Path, out_dir: str | Path, figure: str | None = None) -> list[Path]:
    """Draw the figure of an experiment.

    Parameters
    ----------
    summary_path : path
        Of summary.zarr, which is all that is read.
    out_dir : path
        Folder of the figures; made if it is not there.
    figure : str, optional
        An entry of `FIGURES`; by default what the experiment declared when it was summarised.

    Returns
    -------
    list of Path
        ``<experiment>.pdf``, ``.png`` and the caption, ``.rst``.

    Raises
    ------
    ClhdError
        If there is no summary, nothing in it can be drawn, the figure is unknown, or the files cannot be written.
    """
    from clhd.figures.style import save_figure, use_style  # noqa: PLC0415
    from clhd.sweep.results.summary_reader import read_summary  # noqa: PLC0415

    summary, folder = read_summary(Path(summary_path)), Path(out_dir)
    name = find_figure(summary.experiment | ({"figure": figure} if figure else {}))
    if name == NO_FIGURE:
        raise ClhdError(f"{summary.name}: has no figure of its own")
    module, _, function = FIGURES[name].partition(":")
    plot: Any = getattr(import_module(module), function)
    with use_style():
        drawn, caption = plot(summary)
        with explain_unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            paths = save_figure(drawn, folder / summary.name)
            path = folder / f"{summary.name}.rst"
            path.write_text(caption, encoding="utf-8")
    return [*paths, path]
