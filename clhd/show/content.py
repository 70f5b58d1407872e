"""`describe_results`: everything that the page of an experiment shows, as plain values for its script.

| word | meaning |
|---|---|
| dim | an axis of the grid, the time, or another dim of a quantity |
| quantity | an output of the simulation or of the theory |
| view | one statistic of a quantity: its points, perhaps error bars, perhaps a line of the theory |
| array | the dims and the numbers of one variable, the last dim fastest; a number that is not known is None |
| answer | what `clhd why` says of a point, but for the key, which only the system makes |
"""

import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.core.text import format_number, format_value
from clhd.figures.roles import find_places, thin
from clhd.sweep.results.inspect import describe_point
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.grid import Axis

MAX_NUMBERS = 2_000_000  # of all arrays of a page, which is then about 20 MB large
_DIGITS = 7
_TIME = "time"
# Views of a quantity X: heading, and the suffixes of its points, its error and the theory's line.
_VIEWS = (
    ("mean", "_mean", "_standard_error", "_theory"),
    ("standard deviation", "_standard_deviation", "", "_theory_standard_deviation"),
    ("z-score", "_z_score", "", ""),
)


def describe_results(
    summary: Summary, experiment: Experiment, answers: Collection[Mapping[str, Any]], max_numbers: int = MAX_NUMBERS
) -> dict[str, Any]:
    """Return the content of a page.

    Parameters
    ----------
    experiment : Experiment
        As the summary describes it.
    answers : collection of mapping
        What `clhd.sweep.results.inspect.explain_points` says of all points; empty if that is not known.
    max_numbers : int
        The most numbers of all arrays. If there are more, times are left out, then whole quantities.

    Returns
    -------
    dict
        ``dims``, ``quantities``, ``replicas``, ``answers``, ``start`` (what is shown first) and ``left_out``.
    """
    data, left_out = _fit(summary.dataset, max_numbers)
    quantities = [quantity for name in _list_quantities(data) if (quantity := _describe_quantity(data, name))]
    used = {dim for quantity in quantities for view in quantity["views"] for dim in _list_dims(view)}
    dims = {axis.name: _describe_axis(data, axis) for axis in experiment.axes if axis.name in data.dims}
    dims |= {dim: _describe_dim(data, dim) for dim in sorted(used - dims.keys())}
    return {
        "dims": list(dims.values()),
        "quantities": quantities,
        "replicas": _describe_replicas(data),
        "answers": _describe_answers(answers, experiment),
        "limit": summary.limit,
        "start": _choose_start(summary, experiment, quantities, dims),
        "left_out": left_out,
    }


def _list_quantities(data: xr.Dataset) -> list[str]:
    """Outputs of the simulation, then those of the theory alone."""
    names = [str(name) for name in data.data_vars]
    simulated = [name.removesuffix("_mean") for name in names if name.endswith("_mean")]
    predicted = [name.removesuffix("_theory") for name in names if name.endswith("_theory")]
    return list(dict.fromkeys([*simulated, *predicted]))


def _list_parts(name: str) -> list[str]:
    """The variables of a quantity that a page shows."""
    return list(dict.fromkeys(f"{name}{suffix}" for _, *suffixes in _VIEWS for suffix in suffixes if suffix))


def _fit(data: xr.Dataset, max_numbers: int) -> tuple[xr.Dataset, list[str]]:
    """Leave out times, then the last quantities, until the numbers fit; return what is left, and what is not."""

    def count(data: xr.Dataset, names: Sequence[str]) -> int:
        return sum(data[part].size for name in names for part in _list_parts(name) if part in data)

    names, left_out = _list_quantities(data), []
    total = count(data, names)
    if total > max_numbers and _TIME in data.dims:
        times = data.sizes[_TIME]
        kept = thin(times, max(2, times * max_numbers // total))
        data = data.isel({_TIME: kept})
        left_out.append(f"{len(kept)} of {times} times are here")
    while len(names) > 1 and count(data, names) > max_numbers:
        name = names.pop()
        data = data.drop_vars([part for part in _list_parts(name) if part in data])
        left_out.append(f"{name.replace('_', ' ')} is not here")
    return data, left_out


def _describe_quantity(data: xr.Dataset, name: str) -> dict[str, Any] | None:
    """The views of a quantity; None if nothing of it is known."""
    views: list[dict[str, Any]] = []
    for heading, *suffixes in _VIEWS:
        points, error, line = (_describe_array(data, f"{name}{suffix}" if suffix else "") for suffix in suffixes)
        if points or (line and not views):
            is_score = suffixes[0] == "_z_score"
            views.append({"label": heading, "points": points, "error": error, "line": line, "is_score": is_score})
    words = next((data[part].attrs for part in _list_parts(name) if part in data), {})
    label = str(words.get("long_name") or name.replace("_", " "))
    label = label.removeprefix("mean of the ").removeprefix("theory of the ")
    return {"name": name, "label": label, "units": _units(words), "views": views} if views else None


def _describe_array(data: xr.Dataset, name: str) -> dict[str, Any] | None:
    """The dims and numbers of a variable; None if no number of it is known."""
    if name not in data or not bool(data[name].notnull().any()):
        return None
    return {"dims": [str(dim) for dim in data[name].dims], "values": list_numbers(data[name].values)}


def list_numbers(values: NDArray[Any]) -> list[float | None]:
    """Return numbers with 7 digits, as a script reads them: None for NaN and for infinity."""
    flat = np.asarray(values, float).ravel()
    with np.errstate(all="ignore"):
        exponents = np.where(flat == 0, 0, np.floor(np.log10(np.abs(flat))))
        digits = np.clip(np.nan_to_num(_DIGITS - 1 - exponents, neginf=0), -300, 330).astype(int)
    return [
        (round(number, places) if math.isfinite(number) else None)
        for number, places in zip(flat.tolist(), digits.tolist(), strict=True)
    ]


def _list_dims(view: Mapping[str, Any]) -> Iterator[str]:
    for part in ("points", "error", "line"):
        yield from view[part]["dims"] if view[part] else ()


def _units(words: Mapping[Any, Any]) -> str:
    units = str(words.get("units", "1"))
    return "" if units == "1" else units


def _describe_dim(data: xr.Dataset, dim: str) -> dict[str, Any]:
    """A dim with its values as numbers on an axis and as texts."""
    if dim not in data.coords:
        data = data.assign_coords({dim: np.arange(data.sizes[dim])})
    coordinate = data[dim]
    places, is_logarithmic, labels = find_places(coordinate)
    texts = labels or [format_number(value) for value in coordinate.values]
    if len(set(texts)) < len(texts):
        texts = [format_value(value) for value in coordinate.values.tolist()]
    label = str(coordinate.attrs.get("long_name") or dim.replace("_", " "))
    return {
        "name": dim,
        "label": label,
        "units": _units(coordinate.attrs),
        "places": list_numbers(places),
        "texts": texts,
        "is_words": labels is not None,
        "is_logarithmic": is_logarithmic,
        "arguments": [],
        "labels": [],
    }


def _describe_axis(data: xr.Dataset, axis: Axis) -> dict[str, Any]:
    """An axis of the grid; each value has the words by which `clhd why` finds it, and those by which it answers."""
    arguments = [
        shlex.join(
            f"{parameter}={format_value(value)}" for parameter, value in zip(axis.parameters, values, strict=True)
        )
        for values in axis.values
    ]
    labels = [axis.label(position) for position in range(len(axis))]
    return _describe_dim(data, axis.name) | {"arguments": arguments, "labels": labels}


def _describe_replicas(data: xr.Dataset) -> dict[str, Any] | None:
    """The number of replicas by status, along the axes of the grid; the status is the last dim."""
    if "replica_count" not in data:
        return None
    counts = data["replica_count"].transpose(..., "status")
    names = [str(name).replace("_", " ") for name in counts["status"].values]
    return {"dims": [str(dim) for dim in counts.dims], "statuses": names, "values": counts.values.ravel().tolist()}


def _describe_answers(answers: Collection[Mapping[str, Any]], experiment: Experiment) -> dict[str, Any]:
    """The lines of all answers: for each heading its different texts, and the number of the text of each point."""
    texts: dict[str, dict[str, int]] = {}
    numbers: dict[str, list[int]] = {}
    shared: Mapping[str, Any] = {}
    for known, answer in enumerate(answers):
        shared = answer["parameters"]
        line = describe_point(answer)
        for heading in line:
            if heading not in {*texts, "key", "parameters"}:  # the points before have no such line
                texts[heading], numbers[heading] = {"": 0} if known else {}, [0] * known
        for heading, own in texts.items():
            numbers[heading].append(own.setdefault(line.get(heading, ""), len(own)))
    tables = [{"heading": heading, "texts": list(own), "numbers": numbers[heading]} for heading, own in texts.items()]
    varying = {parameter for axis in experiment.axes for parameter in axis.parameters}
    constants = [f"{name}={format_value(value)}" for name, value in shared.items() if name not in varying]
    return {"constants": constants, "tables": tables}


def _choose_start(
    summary: Summary, experiment: Experiment, quantities: Sequence[Mapping[str, Any]], dims: Mapping[str, Any]
) -> dict[str, Any]:
    """What is shown first: the axes in the order of the file along x and by colour, components in panels."""
    names = [quantity["name"] for quantity in quantities]
    wished = (experiment.quantity, summary.declaration.quantity)
    quantity = next((name for name in wished if name in names), names[0] if names else "")
    shown = next((entry for entry in quantities if entry["name"] == quantity), None)
    own = {dim for view in shown["views"] for dim in _list_dims(view)} if shown else set()
    free = [name for name in dims if name in own and len(dims[name]["texts"]) > 1]
    panel = summary.component if summary.component in free else ""
    order = [name for name in free if name != panel]
    along_time = (experiment.figure or experiment.name) == "trajectories"
    order.sort(key=lambda name: (name == _TIME) != along_time)
    x, colour = [*order, "", ""][:2]
    return {"quantity": quantity, "x": x, "colour": colour, "panel": panel, "last": [_TIME, summary.size]}
