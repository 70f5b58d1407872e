"""`list_mistakes`: what is wrong with the declarations of a system, one line for each mistake.

They are found when the system is loaded, so that an author reads them before anything is computed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from clhd.errors import ClhdError
from clhd.systems.declarations import Output, Parameter
from clhd.systems.protocol import System

_NAME_FORM = re.compile("[a-z][a-z0-9_]{0,99}")
_KINDS = ("number", "count", "choice", "curve", "any")
# Names of the arrays and dims that every store or summary has.
_TAKEN = frozenset(
    {"time", "quantile", "status", "attempts", "seconds", "run", "error_type", "error_message", "replica",
     "replica_block", "replica_count", "theory_status", "until_reached", "refinement_round", "border", "border_low",
     "border_high", "crossing"}
)  # fmt: skip
# With `keep: moments`, ok_count and diverged_count are numbers of runs.
_COUNTED = frozenset({"ok", "diverged"})
# X_distance_mean, X_deviation_mean and X_theory_standard_deviation are of the comparison of X with the theory.
_COMPARED = ("_distance", "_deviation", "_theory")
# What a store or a summary calls something of an output, behind its name.
_STATISTICS = (
    "count", "mean", "squares", "standard_deviation", "standard_error", "quantile", "theory", "z_score",
    "theory_standard_deviation", "distance_mean", "distance_standard_error", "deviation_mean",
    "deviation_standard_deviation", "deviation_standard_error", "deviation_largest",
)  # fmt: skip


def list_mistakes(system: System) -> list[str]:
    """Return what is wrong with the declarations of a system, one line for each mistake; empty if nothing is."""
    mistakes = [
        f"{word} = {getattr(system, word)!r:.60}: must be text"
        for word in ("title", "size", "limit", "quantity", "components", "equations")
        if not isinstance(getattr(system, word), str)
    ]
    mistakes += [
        f"{word} = {getattr(system, word)!r:.60}: must be a whole number"
        for word in ("version", "theory_version")
        if type(getattr(system, word)) is not int
    ]
    if not (isinstance(system.sources, tuple | list) and all(isinstance(line, str) for line in system.sources)):
        mistakes.append(f"sources = {system.sources!r:.60}: must be a list of texts")
    if system.time is not None and not _are_words(system.time):
        mistakes.append(f"time = {system.time!r:.60}: must be clhd.describe(...), or None if the system has no time")
    for word, kind in (("parameters", Parameter), ("outputs", Output)):
        mistakes += _list_mistakes_of_table(word, getattr(system, word), kind)
    for word in ("claims", "figures"):
        table = getattr(system, word)
        if not isinstance(table, Mapping):  # a wrong entry is reported when it is used
            mistakes.append(f"{word} = {table!r:.60}: must be a table of name: 'MODULE:NAME'")
    return mistakes or [*_list_wrong_parameters(system), *_list_wrong_outputs(system)]


def _are_words(words: Any) -> bool:
    return isinstance(words, Mapping) and all(isinstance(text, str) for pair in words.items() for text in pair)


def _list_mistakes_of_table(word: str, table: Any, kind: type) -> list[str]:
    """The mistakes in the names and types of a table of parameters or outputs."""
    if not isinstance(table, Mapping):
        return [f"{word} = {table!r:.60}: must be a table of name: clhd.{kind.__name__}"]
    mistakes = []
    for name, entry in table.items():
        if not (isinstance(name, str) and _NAME_FORM.fullmatch(name)):
            mistakes.append(f"{word}: {name!r:.60} must be lower-case letters, digits and _, starting with a letter")
        elif name in _TAKEN and getattr(entry, "can_vary", True):  # a parameter that is no axis is no array
            mistakes.append(f"{word}.{name}: is the name of something else in the results; choose another")
        if not isinstance(entry, kind):
            mistakes.append(f"{word}.{name} = {entry!r:.60}: must be a clhd.{kind.__name__}")
    return mistakes


def _list_wrong_parameters(system: System) -> Iterator[str]:
    for word in ("size", "components"):
        if getattr(system, word) not in {"", *system.parameters}:
            yield f"{word} = {getattr(system, word)!r}: is no parameter of the system"
    counts = system.parameters.get(system.components)
    if counts is not None and (counts.kind != "count" or counts.can_vary):
        yield f"parameters.{system.components}: counts the components, so kind must be 'count' and can_vary False"
    for name, parameter in system.parameters.items():
        if parameter.kind not in _KINDS:
            yield f"parameters.{name}: kind = {parameter.kind!r:.60}: must be one of {', '.join(_KINDS)}"
            continue
        if parameter.kind == "choice" and not parameter.choices:
            yield f"parameters.{name}: kind = 'choice' needs choices"
            continue
        if parameter.per_component and not system.components and _is_plain(system):
            yield f"parameters.{name}: has a value for each component, so components must name a parameter"
        if not (parameter.in_simulation or parameter.in_theory):
            yield f"parameters.{name}: neither the simulation nor the theory depends on it; leave it out"
        if system.defines("predict_run") and parameter.in_simulation and not parameter.in_theory:
            yield f"parameters.{name}: in_theory must be True, for predict_run draws the start of each run of simulate"
        if parameter.default is None:
            continue
        try:
            parameter.parse("default", parameter.default)
        except (ClhdError, TypeError, ValueError) as error:
            yield f"parameters.{name}: {error}"


def _is_plain(system: System) -> bool:
    """True if a system is written as plain functions, False if it has halves of its own."""
    return any(system.defines(word) for word in ("simulate", "predict", "predict_run"))


def _list_wrong_outputs(system: System) -> Iterator[str]:
    if not _is_plain(system):
        if system.outputs and not any(system.defines(word) for word in ("simulation", "theory")):
            yield "outputs: are declared, but neither simulate nor predict is defined, so there is nothing to compute"
        return
    if not system.outputs:
        yield "outputs: must be given, such as outputs = {'height': clhd.Output(dims=('time',), words=...)}"
    if system.defines("predict") and system.defines("predict_run"):
        yield "defines both predict and predict_run; a theory predicts points or runs"
    if system.defines("predict_run") and not system.defines("simulate"):
        yield "defines predict_run without simulate, whose runs it predicts"
    if system.quantity not in {"", *system.outputs}:
        yield f"quantity = {system.quantity!r}: must be one of the outputs {', '.join(system.outputs)}"
    statistics = {f"{name}_{statistic}" for name in system.outputs for statistic in _STATISTICS}
    for name in statistics & {name for name, parameter in system.parameters.items() if parameter.can_vary}:
        yield f"parameters.{name}: is the name of a statistic of an output; choose another"
    for name, output in system.outputs.items():
        dims: Any = output.dims
        words = output.words
        if name in system.parameters:
            yield f"outputs.{name}: is the name of a parameter, too"
        if name in _COUNTED or (name.endswith(_COMPARED) and name.rpartition("_")[0] in system.outputs):
            yield f"outputs.{name}: the results name something else so; choose another"
        if isinstance(dims, str) or not all(isinstance(dim, str) and _NAME_FORM.fullmatch(dim) for dim in dims):
            yield f"outputs.{name}: dims = {dims!r:.60}: must be a tuple of names, such as ('time',)"
            continue
        if "time" in dims and system.time is None:
            yield f"outputs.{name}: has the dim time, but time = None says that the system has no time"
        for dim in dims:
            is_axis = dim in system.parameters and system.parameters[dim].can_vary
            if dim != "time" and (is_axis or dim in _TAKEN or dim in system.outputs or dim in statistics):
                yield f"outputs.{name}: dims = {dims!r:.60}: {dim} is the name of something else; choose another"
        if len(set(dims)) < len(dims):
            yield f"outputs.{name}: dims = {dims!r:.60}: names a dim twice"
        if not (_are_words(words) and words.get("long_name")):
            yield f"outputs.{name}: words = {words!r:.60}: must be clhd.describe(...)"
        if output.distribution_along not in {None, *dims}:
            yield f"outputs.{name}: distribution_along = {output.distribution_along!r:.60}: must be one of its dims"
