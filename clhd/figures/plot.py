"""`plot_experiment`: draw an experiment from its summary, as pdf and png, with a caption beside them.

| figure | function | what it shows |
|---|---|---|
| lines | plot_lines | a quantity at the last time against one axis, others by colour and panels |
| grid | plot_grid | maps over two axes, one panel for each value of two more |
| trajectories | plot_trajectories | a quantity against time, over the theory with its predicted band |
| border | plot_border | the border that a refined experiment follows, over two axes |
| convergence | plot_convergence | distance from the theory and spread of the runs, by size, with fitted slopes |

These figures are drawn for any system, from the summary alone. A system adds its own (`System.figures`): functions of a
`Summary` that return a figure and its caption.

An experiment names its figure. If it does not, the figure of its own name is drawn, or lines. An experiment that only
plays a part in a claim may have no figure, ``none``. One without a simulation, or of one point, has none unless it
names one.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clhd.errors import ClhdError, InputError, explain_unwritable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clhd.sweep.results.summary_reader import Summary
    from clhd.sweep.spec.experiment import Experiment
    from clhd.systems.protocol import System

# Modules are imported at need: code that only checks a name should not wait for matplotlib, or for a system.
NO_FIGURE = "none"
FIGURES: dict[str, str] = {
    "lines": "clhd.figures.lines:plot_lines",
    "grid": "clhd.figures.grid:plot_grid",
    "trajectories": "clhd.figures.trajectories:plot_trajectories",
    "border": "clhd.figures.border:plot_border",
    "convergence": "clhd.figures.convergence:plot_convergence",
}


def find_figure(experiment: "Experiment | Mapping[str, Any]") -> str:
    """Return the name of the figure of an experiment; "none" if it has none.

    Parameters
    ----------
    experiment : Experiment or mapping
        As plain values, it comes from results, and no file of a system is run. A figure that only such a file, or a
        system that is not installed, could know is returned as it is named.

    Raises
    ------
    ClhdError
        If neither clhd nor the system has the figure that the experiment names.
    """
    table = experiment if isinstance(experiment, Mapping) else experiment.resolved()
    declared, name = str(table.get("figure") or ""), str(table["name"])
    if not _may_have_figure(table):
        return NO_FIGURE
    if (declared or name) in FIGURES:
        return declared or name
    try:
        system = _load_system(experiment)
    except ClhdError:
        return declared or "lines"
    own = system.figures
    if declared and declared not in own:
        allowed = ", ".join([*sorted([*FIGURES, NO_FIGURE]), *sorted(own)])
        raise InputError(f"figure = {declared!r}: must be one of {allowed}")
    if declared or name in own:
        return declared or name
    return "lines" if isinstance(experiment, Mapping) or _has_lines(experiment, system) else NO_FIGURE


def _has_lines(experiment: "Experiment", system: "System") -> bool:
    """Return False if an experiment is one point, without dims of the outputs along which lines could be drawn."""
    if any(len(axis) > 1 for axis in experiment.axes):
        return True
    return any(len(values) > 1 for values, _ in system.simulation.outputs(experiment.constants).coordinates.values())


def check_figure(experiment: "Experiment", source: str) -> str:
    """Return what `find_figure` does; raise ClhdError, which begins with `source`, if it cannot be drawn."""
    try:
        name = find_figure(experiment)
        if name not in {*FIGURES, NO_FIGURE}:
            _check_named(name, _load_system(experiment))
    except ClhdError as error:
        raise InputError(f"{source}: {error}") from None
    if name == "trajectories" and len(experiment.times) < 2:
        raise InputError(
            f"{source}: figure = {name!r}: needs two or more times, not times = {list(experiment.times)}; "
            "give more times, or figure: lines"
        )
    if name in FIGURES and name != "trajectories" and not _has_lines(experiment, _load_system(experiment)):
        raise InputError(
            f"{source}: figure = {name!r}: needs an axis with two values, and this experiment is one point; "
            f"leave figure out, or give {NO_FIGURE}"
        )
    return name


def _check_named(name: str, system: "System") -> None:
    """Raise ClhdError if a system names its figure wrongly; the function must exist if it is in the system's module."""
    from clhd.systems.registry import import_named, locate  # noqa: PLC0415

    target = system.figures[name]
    try:
        if locate(target, system).startswith(f"{type(system).__module__}:"):  # which is loaded
            import_named(target, system)
    except ClhdError as error:
        raise InputError(f"figure = {name!r}: {error}") from None


def _may_have_figure(experiment: Mapping[str, Any]) -> bool:
    """Return False if an experiment has no figure, whatever its system is."""
    if experiment.get("figure"):
        return bool(experiment["figure"] != NO_FIGURE)
    return experiment["name"] in FIGURES or experiment.get("replicas") != 0


def _load_system(experiment: "Experiment | Mapping[str, Any]") -> "System":
    """The system of an experiment; raises ClhdError if it cannot be had. For plain values, no file is run."""
    from clhd.systems.registry import find_system, load_system  # noqa: PLC0415

    if isinstance(experiment, Mapping):
        return find_system(str(experiment.get("system", "")))
    return load_system(experiment.reference)


def plot_experiment(
    summary_path: str | Path, out_dir: str | Path, experiment: "Experiment | None" = None
) -> list[Path]:
    """Draw the figure of an experiment.

    Parameters
    ----------
    summary_path : path
        Path of summary.zarr, which holds all that a figure of clhd needs.
    out_dir : path
        Folder of the figures; made if it does not exist.
    experiment : Experiment, optional
        It names figure and quantity, and may bring the file of a system with figures of its own. By default, the
        experiment that was summarised names them.

    Returns
    -------
    list of Path
        ``<experiment>.pdf``, ``.png`` and the caption, ``.rst``.

    Raises
    ------
    ClhdError
        If there is no summary, nothing in it can be drawn, the figure is unknown, or the files cannot be written.
    """
    from clhd.core.files import make_folder, write_file  # noqa: PLC0415
    from clhd.figures.style import save_figure, use_style  # noqa: PLC0415
    from clhd.sweep.results.products import figure_record, write_record  # noqa: PLC0415
    from clhd.sweep.results.summary_reader import read_summary  # noqa: PLC0415

    if experiment is not None:
        find_figure(experiment)  # a mistake in it is told before anything is read
    summary = read_summary(Path(summary_path), "" if experiment is None else experiment.quantity)
    folder = Path(out_dir)
    with use_style():
        drawn, caption = draw_summary(summary, experiment)
        with explain_unwritable(folder):
            make_folder(folder)
            paths = save_figure(drawn, folder / summary.name)
            path = folder / f"{summary.name}.rst"
            write_file(path, caption)
            paths.append(path)
            write_record(figure_record(folder, summary.name), paths, {summary.name: summary.identity})
    return paths


def draw_summary(summary: "Summary", experiment: "Experiment | None" = None) -> "tuple[Figure, str]":
    """Return the figure of a summary in the style that is in use, and its caption.

    Raises
    ------
    ClhdError
        If it has no figure, the figure is unknown, or a function of a system's author fails.
    """
    named = experiment or summary.experiment
    figure = find_figure(named)
    if figure == NO_FIGURE:
        raise InputError(
            f"{summary.name}: has no figure of its own: this needs a simulation and an axis with two values, "
            "or a figure that the experiment names"
        )
    if figure in FIGURES:
        module, _, function = FIGURES[figure].partition(":")
        drawn: tuple[Figure, str] = getattr(import_module(module), function)(summary)
        return drawn
    from clhd.figures.named import draw_named  # noqa: PLC0415

    try:
        system = _load_system(named)
    except ClhdError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"figure = {figure!r}: is a figure of the system, which cannot be loaded: {reason}") from None
    return draw_named(figure, system.figures[figure], system, summary)
