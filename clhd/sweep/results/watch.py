"""`watch_status`: the table of status again and again: in place on a terminal, else once for each change."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TextIO

from clhd.core.text import format_count
from clhd.sweep.results.state import format_status
from clhd.sweep.store.provenance import now

_SECONDS = 2.0
_SHARE = 4  # of the time, the part that is not spent looking
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
_PASSING = ("age_seconds", "bytes", "files")  # they change all the time


def watch_status(find_reports: Callable[[], Sequence[Mapping[str, Any]]], stream: TextIO) -> NoReturn:
    """Show the status of experiments until Ctrl-C.

    Parameters
    ----------
    find_reports : callable
        Returns what `clhd.sweep.results.state.describe_status` says of each experiment.
    stream : file
        Where the table is shown.
    """
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
