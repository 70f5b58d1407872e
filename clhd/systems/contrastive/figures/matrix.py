"""The figures of the matrix: a cell for each statement in each case, units and constraints crossed, and other laws.

A cell has a colour and a symbol for its verdict, and the number that it rests on; the caption says which number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from clhd.core.statistics import NORMAL_95
from clhd.core.text import format_number
from clhd.figures.series import shift_series
from clhd.figures.style import INK, MUTED, PAGE, letter_panels, make_figure, pick_looks

# For each verdict: the colour of the cell, the colour of its symbol, the symbol.
_LOOKS = {
    "holds": ("#d3ebe0", "#00664b", "\N{CHECK MARK}"),
    "does not hold": ("#f9dccb", "#a34700", "\N{MULTIPLICATION X}"),
    "undecided": ("#eeeeee", "#555555", "?"),
    "diverged": ("#eeeeee", "#555555", "\N{INFINITY}"),
    "no theory": ("white", MUTED, "no theory"),
    "not computed": ("white", MUTED, "not run"),
}
_HEADS = {
    "C3": "SGD agrees\nwith the ODE",
    "C4": "second moment\ndecides learnability",
    "C5": "kurtosis moves\nthe regions",
    "C6": "independent\nnoise degrades",
    "C7a": "negative corre-\nlation is better",
    "C7b": "through the\ngradient variance",
}
_CELL_HEIGHT, _HEAD_HEIGHT, _GAP = 0.27, 0.5, 0.35  # inches; the gap, between losses, in cells
_LEFT = -2.2  # in cells: room for the name of a loss beside the longest case
_SYMBOL_SIZE, _NUMBER_SIZE = 9, 6.5


def plot_matrix(matrix: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the matrix of statements and cases; return the figure with a caption."""
    rows, columns = matrix["rows"], [column["id"] for column in matrix["columns"]]
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    height = len(rows) + _GAP * (len(losses) - 1)
    head = _HEAD_HEIGHT / _CELL_HEIGHT
    figure = make_figure(PAGE, _CELL_HEIGHT * (height + head))
    axes = figure.subplots()
    axes.set(xlim=(_LEFT, len(columns)), ylim=(height, -head))
    axes.axis("off")
    for k, column in enumerate(columns):
        axes.text(k + 0.5, -1.05, column, ha="center", va="bottom", weight="bold")
        axes.text(k + 0.5, -0.98, _HEADS.get(column, ""), ha="center", va="top", fontsize=_NUMBER_SIZE, linespacing=1.1)
    for k, row in enumerate(rows):
        top = k + _GAP * losses.index(row["loss"])
        if k == 0 or rows[k - 1]["loss"] != row["loss"]:
            axes.text(_LEFT, top + 0.5, row["loss"], va="center", weight="bold")
        axes.text(-0.12, top + 0.5, _describe(row), ha="right", va="center", fontsize=7)
        for x, column in enumerate(columns):
            _draw_cell(axes, x, top, column, row["cells"][column])
    return figure, _caption(matrix)


def plot_crossed(matrix: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the cases of one loss and batch with units and constraints crossed; return the figure with a caption.

    They are those of the loss and batch with the most cases.
    """
    rows, cases = _find_crossed(matrix["rows"])
    activations, constraints = (list(dict.fromkeys(case[k] for case in cases)) for k in (0, 1))
    ids = [column["id"] for column in matrix["columns"]]
    head = _HEAD_HEIGHT / _CELL_HEIGHT
    width = len(activations) * (len(constraints) + _GAP) - _GAP
    figure = make_figure(PAGE, _CELL_HEIGHT * 1.2 * (len(ids) + head))
    axes = figure.subplots()
    axes.set(xlim=(-0.27 * width, width), ylim=(len(ids), -head))
    axes.axis("off")
    for y, name in enumerate(ids):
        axes.text(-0.27 * width, y + 0.5, name, va="center", weight="bold")
        axes.text(-0.22 * width, y + 0.5, _HEADS.get(name, ""), va="center", fontsize=_NUMBER_SIZE, linespacing=1.1)
    for k, activation in enumerate(activations):
        left = k * (len(constraints) + _GAP)
        axes.text(left + len(constraints) / 2, -0.95, activation, ha="center", va="bottom", weight="bold")
        for i, constraint in enumerate(constraints):
            row = cases.get((activation, constraint))
            axes.text(left + i + 0.5, -0.2, _name_constraint(row), ha="center", va="bottom", fontsize=_NUMBER_SIZE)
            for y, name in enumerate(ids):
                _draw_cell(axes, left + i, y, name, row["cells"][name] if row else {"verdict": "not computed"})
    first = rows[0]
    batch = f", batch {first['batch']}" if first["batch"] else ""
    return figure, (
        f"Units and constraints crossed, for the {first['loss']} loss{batch}, {first['background']} background. Cells "
        f"are those of the whole matrix. {_describe_unbounded(rows)}{_describe_statements(matrix)}\n"
    )


def _find_crossed(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], dict[tuple[str, str], Any]]:
    """The rows of the loss and batch with the most cases, and the same by activation and constraint."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["loss"], row["background"], row["batch"]), []).append(row)
    chosen = max(groups.values(), key=len)
    return chosen, {(row["activation"], row["constraint"]): row for row in chosen}


def _name_constraint(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return "sphere" if row["constraint"] == "sphere" else f"L2 {row['weight_decay']:g}"


def _describe_unbounded(rows: Sequence[Mapping[str, Any]]) -> str:
    """The reasons of the cells without a theory; empty if all cells have one."""
    cells = {
        (row["activation"], cell["reason"])
        for row in rows
        for cell in row["cells"].values()
        if cell["verdict"] == "no theory"
    }
    by_reason: dict[str, list[str]] = {}
    for activation, reason in sorted(cells):
        by_reason.setdefault(reason, []).append(activation)
    return "".join(f"No theory for {' and '.join(names)}: {reason}. " for reason, names in by_reason.items())


def _describe(row: Mapping[str, Any]) -> str:
    batch = f", $B$ = {row['batch']}" if row["batch"] else ""
    return f"{row['activation']}, {_name_constraint(row)}{batch}"


def _draw_cell(axes: Axes, x: float, top: float, column: str, cell: Mapping[str, Any]) -> None:
    face, colour, symbol = _LOOKS[cell["verdict"]]
    box = FancyBboxPatch(
        (x + 0.04, top + 0.06), 0.92, 0.88, boxstyle="round,pad=0,rounding_size=0.08", facecolor=face, edgecolor="none"
    )
    axes.add_patch(box)
    if len(symbol) > 1:
        axes.text(x + 0.5, top + 0.5, symbol, ha="center", va="center", fontsize=_NUMBER_SIZE, color=colour)
        return
    axes.text(x + 0.15, top + 0.5, symbol, ha="center", va="center", fontsize=_SYMBOL_SIZE, color=colour)
    # A cell that has diverged has no numbers.
    numbers = _NUMBERS[column](cell["evidence"]) if cell["evidence"] else []
    text = "\n".join("\N{EN DASH}" if number is None else _format(number) for number in numbers)
    axes.text(x + 0.6, top + 0.5, text, ha="center", va="center", fontsize=_NUMBER_SIZE, linespacing=1.0, color=INK)


def _subtract(minuend: float | None, subtrahend: float | None) -> float | None:
    """The difference of two numbers; None if one of them is not known."""
    return None if minuend is None or subtrahend is None else minuend - subtrahend


def _format(number: float) -> str:
    return f"{number:.2g}".replace("-", "\N{MINUS SIGN}") if abs(number) >= 5e-5 else "0"


_NUMBERS: dict[str, Callable[[Mapping[str, Any]], Sequence[float | None]]] = {
    "C3": lambda evidence: [evidence["largest_difference"]["value"]],
    "C4": lambda evidence: [evidence["growth_rate"][0], evidence["growth_rate"][-1]],
    "C5": lambda evidence: [evidence["move"]["value"]],
    "C6": lambda evidence: [_subtract(evidence["cosine_similarity"][-1], evidence["cosine_similarity"][0])],
    "C7a": lambda evidence: [_subtract(evidence["cosine_similarity"][0], evidence["cosine_similarity"][1])],
    "C7b": lambda evidence: [evidence.get("part_of_gradient_variance", {}).get("value")],
}


def _caption(matrix: Mapping[str, Any]) -> str:
    rows = matrix["rows"]
    survivals = []
    for column in matrix["columns"]:
        judged = [row["cells"][column["id"]]["verdict"] for row in rows]
        counts = {verdict: judged.count(verdict) for verdict in ("holds", "does not hold")}
        of = sum(verdict not in {"no theory", "not computed"} for verdict in judged)
        survivals.append(f"{column['id']} {counts['holds']} of {of} ({counts['does not hold']} against)")
    return (
        "Which statements survive for which loss, activation and constraint, judged coarsely at one setting of the "
        f"other parameters. They hold in: {'; '.join(survivals)}. A check mark: holds; a cross: does not hold; a "
        "question mark: undecided. Beside the symbol stands what the verdict rests on: C3, largest deviation of the "
        "mean cosine similarity from the ODE, extrapolated to infinite dimension where there are two dimensions; C4, "
        "growth rates at the smallest and at the largest second moment, at the first kurtosis; C5, how far the "
        "eigenvalue of the pure state moves with "
        "kurtosis, over the growth rate; C6, change of the cosine similarity from no to the strongest augmentation "
        "noise; C7a, its gain from correlation 0 to \N{MINUS SIGN}1; C7b, the part of this gain that is left if the "
        "correlation acts on the gradient variance alone. "
        f"{_describe_statements(matrix)}\n"
    )


def _describe_statements(matrix: Mapping[str, Any]) -> str:
    """The statements in full, which say at which time they are asked."""
    return "; ".join(f"{column['id']}: {column['statement']}" for column in matrix["columns"]) + "."


def plot_universality(matrix: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw means and spreads by other laws less the projected chain's; return the figure with a caption."""
    laws = matrix["universality"]["evidence"]["laws"]
    figure = make_figure(PAGE, 2.5)
    left, right = figure.subplots(1, 2)
    looks, shifts = pick_looks(len(laws), ordered=False), shift_series(len(laws), 1.0)
    for law, look, shift in zip(laws, looks, shifts, strict=True):
        look["label"] = law["law"] + (" (control)" if law["is_control"] else "")
        size = [n * 1.06**shift for n in law["dimension"]]
        left.errorbar(
            size,
            [row[-1] for row in law["difference_times_dimension"]],
            [NORMAL_95 * n * row[-1] for n, row in zip(law["dimension"], law["standard_error"], strict=True)],
            **look,
        )
        right.errorbar(
            size,
            [row[-1] for row in law["ratio_of_standard_deviations"]],
            [row[-1] for row in law["half_interval_of_ratio"]],
            **look,
        )
    low, high = matrix["thresholds"]["spread_ratio_range"]
    dimensions = sorted({n for law in laws for n in law["dimension"]})
    coefficient = matrix["thresholds"]["largest_deviation"] * dimensions[-1]
    edge = [dimensions[0] * 0.8, dimensions[-1] * 1.25]
    left.axhspan(-coefficient, coefficient, color="#eeeeee", linewidth=0)
    right.axhspan(low, high, color="#eeeeee", linewidth=0)
    time = format_number(laws[0]["time"][-1])
    left.axhline(0, color=MUTED, linewidth=0.6, zorder=0.5)
    right.axhline(1, color=MUTED, linewidth=0.6, zorder=0.5)
    left.set(ylabel="$n$ times difference of means")
    right.set(ylabel="ratio of standard deviations")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="dimension $n$", xlim=edge)
    letter_panels((left, right))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(laws), 3), columnspacing=1.2)
    return figure, (
        f"{matrix['universality']['statement']} The numbers say: {matrix['universality']['verdict']}. Full simulations "
        f"less the projected chain at the same dimension, at time {time}, with 95 % intervals, those of the ratios as "
        "of normal samples (too short where single runs are far from all others); the control has the laws for which "
        "the chain is exact. Grey: what the verdict, at the largest dimension and at all times, allows.\n"
    )
