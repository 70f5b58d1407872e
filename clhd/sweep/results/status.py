"""`describe_status`: state and counts by status of each experiment, from the ledgers alone; no system is loaded.

`format_status`: a table of them. `watch_status`: this table again and again: in place on a terminal, else once for each
change.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from clhd.core.text import format_age, format_bytes, format_count
from clhd.sweep.results.state import State, find_states
from clhd.sweep.spec.experiment import STAGES, Experiment, StageName, stage_path
from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.provenance import now
from clhd.sweep.store.zarr_format import FILE

_SECONDS = 2.0
_SHARE = 4  # of the time, the part that is not spent looking
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
_PASSING = ("age_seconds", "bytes", "files")  # they change all the time
# Columns of the table, and the key of a report that each shows.
_COLUMNS = {
    "runs": "wanted",
    "ok": "ok",
    "failed": "failed",
    "diverged": "diverged",
    "not converged": "not_converged",
    "pending": "not_run",
    "not wanted": "not_wanted",
}
_RARE = ("not converged", "not wanted")


def describe_status(
    experiment: Experiment, results: Path, *, deep: bool = False, opened: dict[StageName, ChunkFiles] | None = None
) -> dict[str, Any]:
    """Return state, counts by status, age and size of the stages of one experiment.

    Parameters
    ----------
    deep : bool
        Read and check every file.
    opened : dict, optional
        See `find_states`.

    Returns
    -------
    dict
        ``experiment``, ``path``, ``state`` (the worst of its stages), ``complete``, and an entry for each stage:
        ``state``, ``problem`` if something is wrong, ``wanted`` (runs that the experiment asks for), their counts by
        status (pending ones are ``not_run``), ``age_seconds`` since the last change, ``bytes`` and ``files`` if it can
        be opened. See `clhd.sweep.results.state` for the states.
    """
    opened = {} if opened is None else opened
    states = find_states(experiment, results, deep=deep, opened=opened)
    worst = max((found.state for found in states.values()), key=list(State).index, default=State.COMPLETE)
    report: dict[str, Any] = {"experiment": experiment.name, "path": str(results / experiment.name)}
    for stage, found in states.items():
        path = stage_path(results / experiment.name, stage)
        report[stage] = {"state": str(found.state), **found.counts} | _measure(path, opened.get(stage))
        if found.problem:
            report[stage]["problem"] = found.problem
    return report | {"state": str(worst), "complete": worst == State.COMPLETE}


def _measure(path: Path, files: ChunkFiles | None) -> dict[str, Any]:
    """Return the age of a store, if there is one, and its size, if it could be opened."""
    measured: dict[str, Any] = {}
    with suppress(OSError):
        measured["age_seconds"] = round(time.time() - (path / FILE).stat().st_mtime, 1)
    if files is not None:
        sizes = files.list_sizes()
        measured |= {"bytes": sum(sizes), "files": len(sizes)}
    return measured


def format_status(reports: list[dict[str, Any]]) -> str:
    """Return the reports as a table for people; the text of a problem takes the place of the numbers."""
    stages = [(report["experiment"], kind, report.get(kind)) for report in reports for kind in STAGES]
    columns = dict(_COLUMNS)
    for name in _RARE:
        if not any(stage and stage.get(columns[name]) for *_, stage in stages):
            del columns[name]
    rows = [["experiment", "stage", "state", *columns, "age", "size"]]
    for name, kind, stage in stages:
        if stage is not None:
            cells = [stage["problem"]] if "problem" in stage else _list_cells(stage, columns.values())
            rows.append([name, kind, stage["state"], *cells])
        elif kind != "simulation":
            rows.append([name, kind, "none"])
    table = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in (rows if column < 3 else table)) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )


def _list_cells(stage: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """The cells of one row of the table."""
    age = format_age(stage["age_seconds"]) if "age_seconds" in stage else ""
    size = format_bytes(stage["bytes"]) if "bytes" in stage else ""
    return [*(str(stage.get(key, "")) for key in keys), age, size]


def watch_status(find_reports: Callable[[], Sequence[Mapping[str, Any]]], stream: TextIO) -> NoReturn:
    """Show the status of experiments on a stream until Ctrl-C; `find_reports` asks `describe_status` for each."""
    before = None
    while True:
        began = time.monotonic()
        reports = [dict(report) for report in find_reports()]
        if stream.isatty():
            stream.write(_fit_screen(format_status(reports)))
            stream.flush()
        elif (known := [_drop_passing(report) for report in reports]) != before:
            stream.write(f"{now()}\n{format_status(reports)}\n\n")
            stream.flush()
            before = known
        time.sleep(max(_SECONDS, _SHARE * (time.monotonic() - began)))


def _drop_passing(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without what changes although no run has ended."""
    return {
        key: {name: value for name, value in entry.items() if name not in _PASSING}
        if isinstance(entry, dict)
        else entry
        for key, entry in report.items()
    }


def _fit_screen(table: str) -> str:
    """The text that replaces what a terminal shows by a table; of a long one, the lines that fit."""
    width, height = shutil.get_terminal_size()
    lines = [f"{now()}, until Ctrl-C", *table.splitlines()]
    more = len(lines) - (height - 1)
    if more > 0:
        lines = [*lines[: height - 2], f"... and {format_count(more + 1, 'more line')}"]
    return _HOME + "".join(f"{line[: width - 1]}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_REST
