"""The artists, labels and values of figures of made-up summaries; no pixels."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from fontTools.subset import Options
from matplotlib.axes import Axes
from matplotlib.backends import _backend_pdf_ps
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from clhd.core.statistics import fit_power_law
from clhd.errors import ClhdError
from clhd.figures.border import plot_border
from clhd.figures.convergence import plot_convergence
from clhd.figures.grid import plot_grid
from clhd.figures.lines import plot_lines
from clhd.figures.plot import FIGURES, find_figure, plot_experiment
from clhd.figures.style import use_style
from clhd.figures.trajectories import plot_trajectories
from clhd.sweep.results.border import add_border
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.spec.experiment import parse_experiment, read_experiment
from clhd.sweep.spec.rounds import Refinement
from clhd.systems.contrastive.figures.presets import plot_moments, plot_noise_correlation
from clhd.systems.protocol import NoHalf, System
from clhd.systems.registry import list_systems

from .conftest import MakeSummary

NOISE = {"noise_correlation": [-1.0, 0.0, 1.0], "augmentation_noise_variance": [0.0, 0.5], "dimension": [100, 1000]}
GRID = {
    "noise_correlation": [-1.0, 0.0, 1.0],
    "kurtosis": [1.0, 3.0],
    "second_moment": [0.5, 1.0, 1.5, 2.0],
    "dimension": [100, 1000],
}
AXES: dict[str, dict[str, list[Any]]] = {
    "lines": {"kurtosis": [1.0, 2.0, 3.0]},
    "noise_correlation": NOISE,
    "moments": {"kurtosis": [1.0, 3.0], "second_moment": [0.1, 0.5, 1.0], "dimension": [100, 1000]},
    "convergence": {"dimension": [100, 1000, 10000]},
    "grid": GRID,
    "trajectories": {"dimension": [100, 1000]},
}
PLOTS = {
    "lines": plot_lines,
    "noise_correlation": plot_noise_correlation,
    "moments": plot_moments,
    "convergence": plot_convergence,
    "grid": plot_grid,
    "trajectories": plot_trajectories,
}


def test_every_figure_has_a_row_in_both_tables() -> None:
    assert set(AXES) == set(PLOTS)
    assert set(FIGURES) - {"border"} <= set(AXES)  # a border needs an experiment that was refined


def texts(figure: Figure) -> str:
    """All that is written on a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def curve(panel: Axes, number: int) -> tuple[list[float], list[float]]:
    line = panel.lines[number]
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).round(6).tolist()


def test_theory_is_a_line_and_the_simulation_points_with_two_standard_errors(make_summary: MakeSummary) -> None:
    figure, _ = plot_noise_correlation(make_summary(NOISE))
    assert len(figure.axes) == 4  # two dimensions: means above, scores below
    panel = figure.axes[1]
    assert panel.get_title() == "$n$ = 1,000"
    assert panel.lines[0].get_linestyle() == "-"
    # Last time (position 2) and second dimension (position 1): 0.1 + 0.03, and 0.01 for each noise correlation.
    assert curve(panel, 0) == ([-1, 0, 1], [0.13, 0.14, 0.15])
    points: Any = panel.containers[0]
    assert points.lines[0].get_xydata()[0].tolist() == pytest.approx([-1, 0.15])
    assert points.lines[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.13, 0.17])


def test_the_difference_is_shown_in_standard_errors(make_summary: MakeSummary) -> None:
    figure, _ = plot_noise_correlation(make_summary(NOISE))
    scores = figure.axes[2].lines[0]
    assert figure.axes[2].get_ylabel() == "$z$"
    assert np.asarray(scores.get_ydata()) == pytest.approx([2.0, 2.0, 2.0])


def test_axes_and_legend_carry_name_symbol_and_values(make_summary: MakeSummary) -> None:
    figure, _ = plot_noise_correlation(make_summary(NOISE))
    assert figure.axes[0].get_ylabel() == "cosine similarity $S$"
    assert figure.axes[2].get_xlabel() == r"noise correlation $\rho$"
    legend = figure.legends[0]
    assert legend.get_title().get_text() == "augmentation noise variance $s_a^2$"
    assert [text.get_text() for text in legend.get_texts()] == ["0", "0.5", "simulation", "theory"]


def test_a_legend_of_long_labels_stays_on_the_page(make_summary: MakeSummary) -> None:
    places = np.array([f"base_noise_variance=0.{k}, augmentation_noise_variance=0.{k}" for k in range(5)])
    axes: dict[str, Any] = {"noise_correlation": [-1.0, 0.0, 1.0], "place": places.astype(np.dtypes.StringDType())}
    with use_style():
        figure, _ = plot_lines(make_summary(axes), ("noise_correlation", "place"))
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_moments_show_where_the_quantity_started(make_summary: MakeSummary) -> None:
    summary = make_summary({"second_moment": [0.1, 1.0]})
    begin = summary.dataset["cosine_similarity_mean"]
    begin[{"time": 0}] = 0.05
    figure, caption = plot_moments(summary)
    (start,) = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert np.asarray(start.get_ydata()).tolist() == [0.05, 0.05]
    assert "Dotted: the value at the start. Above its value at the start, a feature has grown." in caption


def test_a_summary_without_theory_has_points_alone(make_summary: MakeSummary) -> None:
    figure, caption = plot_lines(make_summary({"kurtosis": [1.0, 2.0]}, theory=False))
    assert len(figure.axes) == 1
    assert "theory" not in texts(figure)
    assert "There is no theory to compare with." in caption


def test_of_many_values_some_are_shown_and_the_caption_says_so(make_summary: MakeSummary) -> None:
    figure, caption = plot_lines(make_summary({"kurtosis": [1.0, 2.0], "second_moment": list(range(1, 21))}))
    assert len(figure.legends[0].get_texts()) == 6 + 2
    assert "Shown are 6 of the 20 values of second moment." in caption


def test_values_that_vary_together_stand_side_by_side(make_summary: MakeSummary) -> None:
    labels = np.array(["k_1=1, k_2=1", "k_1=1, k_2=2"], dtype=np.dtypes.StringDType())
    figure, _ = plot_lines(make_summary({"pair": labels}))  # type: ignore[dict-item]
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == list(labels)


def test_a_map_holds_the_means_and_contours_the_theory(make_summary: MakeSummary) -> None:
    figure, caption = plot_grid(make_summary(GRID))
    maps = [c for axes in figure.axes[:4] for c in axes.collections if isinstance(c, QuadMesh)]
    assert len(maps) == 4  # kurtosis in columns, dimension in rows
    # Last time, first kurtosis and dimension: 0.1 + 0.02 + 0.02, and 0.01 per position along both axes.
    expected = 0.14 + 0.01 * np.add.outer(np.arange(4), np.arange(3))
    assert np.asarray(maps[0].get_array()) == pytest.approx(expected)
    assert any("Contour" in type(c).__name__ for axes in figure.axes[:4] for c in axes.collections)
    assert "for each kurtosis (columns) and dimension (rows)" in caption


def test_a_map_with_one_axis_left_is_drawn_as_lines(make_summary: MakeSummary) -> None:
    figure, _ = plot_grid(make_summary({"kurtosis": [1.0, 2.0]}))
    assert figure.axes[0].containers


def test_learning_curves_have_the_predicted_band_of_ninety_percent(make_summary: MakeSummary) -> None:
    figure, caption = plot_trajectories(make_summary({"dimension": [100, 1000]}, features=2))
    assert [panel.get_title() for panel in figure.axes] == ["$n$ = 100", "$n$ = 1,000"]
    panel = figure.axes[0]
    assert curve(panel, 0) == ([0, 5, 10], [0.1, 0.11, 0.12])
    band = panel.collections[0].get_paths()[0].vertices[:, 1]  # type: ignore[index]
    assert (band.min(), band.max()) == pytest.approx((0.1 - 1.645 * 0.03, 0.12 + 1.645 * 0.03), abs=1e-4)
    assert "feature 1" in texts(figure)
    assert "as the fluctuation theory predicts" in caption


def test_learning_curves_without_quantiles_have_bars_of_standard_deviations_and_say_so(
    make_summary: MakeSummary,
) -> None:
    summary = make_summary({"dimension": [100, 1000]})
    figure, caption = plot_trajectories(Summary(summary.dataset.drop_dims("quantile")))
    assert "bars of 1.645 standard deviations of them" in caption
    assert "quantile" not in caption
    points: Any = figure.axes[0].containers[0]
    mean, deviation = (summary.get(name).values[0, 0] for name in ("mean", "standard_deviation"))
    ends = points.lines[2][0].get_segments()[0][:, 1].tolist()
    assert ends == pytest.approx([mean - 1.6449 * deviation, mean + 1.6449 * deviation], abs=1e-4)


def test_a_learning_curve_needs_more_than_one_time(make_summary: MakeSummary) -> None:
    with pytest.raises(ClhdError, match="needs two or more times"):
        plot_trajectories(make_summary({"dimension": [100, 1000]}, times=[5.0]))


def test_a_fitted_power_law_finds_its_exponent() -> None:
    size = np.array([100.0, 1000.0, 10000.0, 100000.0])
    slope = fit_power_law(size, -3.0 / size, 0.01 / size)
    assert slope is not None
    assert slope.exponent == pytest.approx(-1, abs=1e-6)
    assert slope.values == pytest.approx(-3.0 / size)


def test_values_that_are_not_told_from_zero_have_no_slope() -> None:
    size = np.array([100.0, 1000.0, 10000.0, 100000.0])
    assert fit_power_law(size, np.array([1.0, -1.0, 1.0, -1.0]) / size, 2 / size) is None
    assert fit_power_law(size[:2], 1 / size[:2], 0.1 / size[:2]) is None


def test_bias_within_two_standard_errors_is_hollow_and_the_spread_has_its_theory(make_summary: MakeSummary) -> None:
    summary = make_summary({"dimension": [100, 1000, 10000]})
    size = summary.dataset["dimension"].values[:, None, None]
    data = summary.dataset
    data["cosine_similarity_mean"].values[:] = data["cosine_similarity_theory"].values + 2.0 / size
    data["cosine_similarity_standard_error"].values[:] = np.array([1e-4, 1e-4, 1e-2])[:, None, None]
    data["cosine_similarity_standard_deviation"].values[:] = 3 / np.sqrt(size)
    figure, caption = plot_convergence(summary)
    faces = {line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert "white" in faces
    assert len(faces) == 2
    assert "fitted exponents −0.5 ±" in caption  # noqa: RUF001
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize("name", sorted(AXES))
def test_every_figure_is_written_with_its_caption(
    name: str, make_summary: MakeSummary, stored: Callable[[Summary], Path], tmp_path: Path
) -> None:
    paths = plot_experiment(stored(make_summary(AXES[name], name="some_name", figure=name)), tmp_path / "figures")
    assert [path.name for path in paths] == ["some_name.pdf", "some_name.png", "some_name.rst"]
    assert paths[0].read_bytes().startswith(b"%PDF")
    caption = paths[2].read_text(encoding="utf-8")
    points = int(np.prod([len(values) for values in AXES[name].values()]))
    assert caption.startswith("**Made up.**")
    assert f"{points} points with 16 replicas each; all runs are ok." in caption
    assert "seed 7, clhd 0.1.0" in caption


@pytest.mark.parametrize("name", sorted(AXES))
def test_a_figure_says_what_is_missing(name: str, make_summary: MakeSummary) -> None:
    axes = AXES[name]
    first = dict.fromkeys(axes, 0)
    summary = make_summary(axes, failed=first, diverged={axis: len(values) - 1 for axis, values in axes.items()})
    figure, caption = PLOTS[name](summary)
    total = summary.points * 16
    assert f"2 of {summary.points} points (16 diverged and 16 failed of {total} runs)" in texts(figure)
    assert "16 diverged and 16 failed, which leaves 2 points incomplete." in caption


@pytest.mark.parametrize("name", sorted(AXES))
@pytest.mark.parametrize(
    "axes",
    [
        {"kurtosis": [1.0, 3.0]},
        {"dimension": [100, 1000], "kurtosis": [1.0, 3.0]},
        {"a": [0, 1], "b": [0, 1], "c": [0, 1], "d": [0, 1], "e": [0, 1]},
    ],
    ids=["one axis", "two axes", "five axes"],
)
def test_every_figure_can_draw_other_axes_than_its_own(
    name: str, axes: dict[str, list[Any]], make_summary: MakeSummary
) -> None:
    figure, caption = PLOTS[name](make_summary(axes))
    figure.canvas.draw()
    assert re.search(r"\d+ points with 16 replicas", caption)


def test_the_same_summary_gives_the_same_bytes(
    make_summary: MakeSummary, stored: Callable[[Summary], Path], tmp_path: Path
) -> None:
    path = stored(make_summary(AXES["lines"]))
    first = [p.read_bytes() for p in plot_experiment(path, tmp_path / "a")]
    assert [p.read_bytes() for p in plot_experiment(path, tmp_path / "b")] == first


def test_fonts_in_a_pdf_have_no_rules_for_kerning_and_others_keep_theirs(
    make_summary: MakeSummary, stored: Callable[[Summary], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fonts, embed = [], _backend_pdf_ps.font_as_file
    monkeypatch.setattr(_backend_pdf_ps, "font_as_file", lambda font: (fonts.append(set(font.keys())), embed(font))[1])
    plot_experiment(stored(make_summary(AXES["lines"])), tmp_path)
    assert fonts
    for tables in fonts:
        assert {"glyf", "hmtx"} <= tables
        assert not {"GDEF", "GPOS", "GSUB", "kern"} & tables
    assert "GPOS" not in Options().drop_tables


class OwnSystem(System):
    """Has a figure of its own, in this module."""

    simulation = NoHalf()
    figures = {"bars": ":plot_bars", "dotted": "clhd.figures.lines:plot_lines", "lost": ":plot_lost", "odd": "odd"}


def plot_bars(summary: Summary) -> tuple[Figure, str]:
    figure, _ = plot_lines(summary)
    return figure, "Bars.\n"


@pytest.fixture
def own_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(list_systems(), "own", f"{__name__}:OwnSystem")


@pytest.mark.usefixtures("own_system")
def test_the_figure_is_the_declared_one_else_that_of_the_name_else_lines() -> None:
    assert find_figure({"name": "x", "figure": "grid"}) == "grid"
    assert find_figure({"name": "grid"}) == "grid"
    assert find_figure({"name": "x"}) == "lines"
    assert find_figure({"name": "x", "replicas": 0}) == "none"
    assert find_figure({"name": "x", "figure": "bars", "system": "own"}) == "bars"
    assert find_figure({"name": "bars", "system": "own"}) == "bars"
    assert find_figure({"name": "dimension", "system": "contrastive"}) == "dimension"


@pytest.mark.usefixtures("own_system")
def test_an_unknown_figure_is_refused_with_those_of_clhd_and_of_the_system() -> None:
    allowed = "must be one of border, convergence, grid, lines, none, trajectories, bars, dotted, lost, odd"
    with pytest.raises(ClhdError, match=f"figure = 'pie': {allowed}"):
        find_figure({"name": "x", "figure": "pie", "system": "own"})


def test_a_system_that_is_not_there_hides_no_figure_of_clhd(
    make_summary: MakeSummary, stored: Callable[[Summary], Path], tmp_path: Path
) -> None:
    assert find_figure({"name": "x", "figure": "grid", "system": "gone"}) == "grid"
    assert find_figure({"name": "x", "system": "gone"}) == "lines"
    experiment = parse_experiment({"name": "x", "system": "gone", "times": [0], "figure": "pie"}, check=False)
    with pytest.raises(
        ClhdError, match="figure = 'pie': is a figure of the system, which cannot be loaded: system = 'gone'"
    ):
        plot_experiment(stored(make_summary(AXES["lines"], system="gone")), tmp_path / "figures", experiment)
    assert not (tmp_path / "figures").exists()


@pytest.mark.usefixtures("own_system")
@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("lost", "OwnSystem: ':plot_lost': there is no plot_lost in that module"),
        ("odd", "OwnSystem: 'odd' must be text such as 'MODULE:"),
    ],
)
def test_a_figure_of_a_system_that_is_no_function_is_refused_in_one_line(
    make_summary: MakeSummary, stored: Callable[[Summary], Path], tmp_path: Path, figure: str, message: str
) -> None:
    with pytest.raises(ClhdError, match=message):
        plot_experiment(stored(make_summary(AXES["lines"], system="own", figure=figure)), tmp_path)


SYSTEM_FILE = """
import clhd.figures.lines
from clhd.systems.protocol import NoHalf, System

open("was_run", "a").close()

class Mine(System):
    simulation = NoHalf()
    figures = {"mine": ":plot_mine"}

def plot_mine(summary):
    return clhd.figures.lines.plot_lines(summary)[0], "Mine.\\n"
"""


def test_the_file_of_a_system_is_run_for_its_own_figure_and_never_for_results(
    make_summary: MakeSummary, stored: Callable[[Summary], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(SYSTEM_FILE)
    text = "{system: 'mine.py:Mine', constants: {}, times: [0], replicas: 1, figure: FIGURE}"
    for figure in ("grid", "mine"):
        Path(f"{figure}.yaml").write_text(text.replace("FIGURE", figure))
    path = stored(make_summary(AXES["lines"], system="mine.py:Mine", figure="mine"))
    with pytest.raises(
        ClhdError, match="figure = 'mine': is a figure of the system, which cannot be loaded: system = 'mine"
    ):
        plot_experiment(path, "figures")
    plot_experiment(path, "figures", read_experiment("grid.yaml", check=False))
    assert not Path("was_run").exists()
    paths = plot_experiment(path, "figures", read_experiment("mine.yaml", check=False))
    assert Path("was_run").exists()
    assert paths[2].read_text() == "Mine.\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return look(summary), ''", r"line 12: KeyError: \"No variable named 'gone'"),
        ("raise OSError(2, 'no file')", r"line 15: FileNotFoundError: \[Errno 2\] no file"),
        ("return None", "':plot_mine' must return a figure and its caption, not None"),
        (
            "figure, _ = clhd.figures.lines.plot_lines(summary); figure.text(0, 0, r'$\\bad$'); return figure, ''",
            r"ValueError: \\bad",
        ),
    ],
)
def test_what_an_authors_figure_raises_is_one_line_with_its_name_its_file_and_the_line(
    make_summary: MakeSummary,
    stored: Callable[[Summary], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    look = "def look(summary):\n    return summary.dataset['gone']\n\ndef plot_mine(summary):\n    "
    Path("mine.py").write_text(SYSTEM_FILE.partition("def plot_mine")[0] + look + body)
    Path("mine.yaml").write_text("{system: 'mine.py:Mine', times: [0], replicas: 1, figure: mine}")
    path = stored(make_summary(AXES["lines"], system="mine.py:Mine", figure="mine"))
    with pytest.raises(ClhdError, match=f"figure = 'mine': .*{message}") as error:
        plot_experiment(path, "figures", read_experiment("mine.yaml", check=False))
    (line,) = str(error.value).splitlines()
    assert (f"{tmp_path}/mine.py" in line) == ("must return" not in line)
    assert not Path("figures").exists()


def test_a_summary_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClhdError, match=r"summary\.zarr: does not exist"):
        plot_experiment(tmp_path / "summary.zarr", tmp_path)


def test_a_theory_with_an_axis_of_its_own_is_refused_in_one_line() -> None:
    dims = {"dimension": [10, 100], "time": [0.0, 1.0]}
    mean = xr.DataArray(np.zeros((2, 2)), dims, dims=tuple(dims))
    theory = mean.expand_dims(correlation_acts_on=["both", "drift"])
    dataset = xr.Dataset({"overlap_mean": mean, "overlap_theory": theory}, attrs={"experiment": {"name": "switch"}})
    with pytest.raises(ClhdError, match="its theory has the axis correlation_acts_on, which the simulation lacks"):
        Summary(dataset).get("theory")


@pytest.mark.parametrize("name", ["lines", "grid", "convergence"])
def test_figures_of_a_system_without_time_say_nothing_of_time(name: str, make_summary: MakeSummary) -> None:
    summary = make_summary({"dimension": [100, 1000], "kurtosis": [1.0, 3.0]}, time=None)
    figure, caption = PLOTS[name](summary)
    figure.canvas.draw()
    assert not re.search(r"\btimes?\b", texts(figure) + caption)
    assert "within 2 standard errors of the limit of infinite dimension" in caption


def test_a_trajectory_without_time_is_refused(make_summary: MakeSummary) -> None:
    with pytest.raises(ClhdError, match="needs two or more times"):
        plot_trajectories(make_summary({"dimension": [100, 1000]}, time=None))


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_one_run_has_no_errors_and_nothing_is_said_of_them(name: str, make_summary: MakeSummary) -> None:
    figure, caption = PLOTS[name](make_summary(AXES[name], replicas=1))
    figure.canvas.draw()
    assert not re.search("nan|standard error|standard deviation|quantile|z =|\\bz\\b", texts(figure) + caption)
    assert "limit of infinite dimension" in caption
    assert "1 replica each; all runs are ok." in caption


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_figures_name_what_the_system_declares(name: str, make_summary: MakeSummary) -> None:
    axes = {"kurtosis": [10, 100, 1000], "second_moment": [0.5, 1.0]}
    figure, caption = PLOTS[name](make_summary(axes, size="kurtosis", limit="limit of heavy tails", components=""))
    assert "dimension" not in caption + texts(figure).replace("steps per dimension", "")
    assert "of the limit of heavy tails (95 % would, were there no bias at finite kurtosis)" in caption
    _, caption = PLOTS[name](make_summary(axes, size="kurtosis", limit="", components=""))
    assert "of the theory (95 % would, if the two agreed)" in caption


def test_the_quantity_is_the_chosen_one_else_the_declared_one_else_the_first(make_summary: MakeSummary) -> None:
    dataset = make_summary({"kurtosis": [1.0, 2.0]}).dataset
    other = {name: dataset[name].rename(name.replace("cosine_similarity", "overlap")) for name in dataset.data_vars}
    both = xr.merge([*other.values(), dataset], combine_attrs="override").assign_attrs(dataset.attrs)
    both["overlap_distance_mean"] = both["overlap_mean"]
    assert Summary(both).quantity == "cosine_similarity"
    assert Summary(both, "overlap").quantity == "overlap"
    undeclared = both.assign_attrs(declaration=dataset.attrs["declaration"] | {"quantity": ""})
    assert Summary(undeclared).quantity == "overlap"
    for name in ("overlap_distance", "nothing"):
        with pytest.raises(ClhdError, match=f"quantity = '{name}': must be one of overlap, cosine_similarity"):
            _ = Summary(both, name).quantity


def test_a_summary_of_an_earlier_version_is_drawn_with_what_it_shows(make_summary: MakeSummary) -> None:
    dataset = make_summary({"kurtosis": [1.0, 2.0]}, system="gone").dataset
    del dataset.attrs["declaration"]
    summary = Summary(dataset)
    assert (summary.quantity, summary.size, summary.limit, summary.component) == ("cosine_similarity", "", "theory", "")
    assert "Lines: theory; below" in plot_lines(summary)[1]
    dataset.attrs["experiment"]["system"] = "contrastive"
    assert (Summary(dataset).size, Summary(dataset).component) == ("dimension", "feature")


def test_a_declaration_that_is_not_known_is_refused_in_one_line(make_summary: MakeSummary) -> None:
    with pytest.raises(ClhdError, match=r"summary of made_up: declaration\.size is not known"):
        _ = make_summary({"kurtosis": [1.0, 2.0]}, size=3).declaration


def test_a_border_is_drawn_with_its_band_over_the_computed_points() -> None:
    moment, rate = (xr.DataArray(np.linspace(0, 1, 9), dims=[name]) for name in ("second_moment", "learning_rate"))
    values = moment - 0.5 * rate - 0.2
    rounds = xr.where((abs(values) < 0.3), 1, -1)
    refine = {"quantity": "x_theory", "level": 0.0, "along": ["second_moment", "learning_rate"], "rounds": 2}
    data = xr.Dataset(
        {"x_theory": values.where(rounds >= 0), "theory_status": rounds + 1},
        coords={"second_moment": moment.values, "learning_rate": rate.values},
        attrs={"code": "1", "created": "now", "identity": "a"},
    )
    experiment = {"name": "made_up", "seed": 1, "replicas": 0, "refine": {**refine, "coarse": {}}}
    data = add_border(data, Refinement.model_validate(refine), rounds).assign_attrs(experiment=experiment)
    figure, caption = plot_border(Summary(data))
    panel = figure.axes[0]
    line = panel.lines[-1]
    np.testing.assert_allclose(line.get_ydata(), 0.5 * rate + 0.2, atol=1e-12)
    assert len(panel.lines[0].get_xdata()) == int((rounds >= 0).sum())
    assert f"{int((rounds >= 0).sum())} points of 81, in 2 rounds" in caption
    assert "at most 0.125 wide" in caption
