"""`Progress`: the share of long work that is done, its rate and the time left; a bar on a terminal or in a notebook.

Elsewhere, such as in a log file, it is a line now and then.
"""

import sys
import time
from typing import TextIO

from clhd.core.text import format_count, format_seconds

_BAR_SECONDS, _LINE_SECONDS = 0.2, 15.0
_BAR_WIDTH = 24
_CLEAR = "\x1b[K"  # to the end of the line


def _is_of_notebook(stream: TextIO) -> bool:
    return type(stream).__module__.startswith("ipykernel")


class Progress:
    """Progress of one stage.

    Parameters
    ----------
    title : str
        What is being done.
    runs : int
        Number of runs to do.
    seconds : float
        Predicted seconds of one core for all runs; the share that is done is measured in them.
    stream : file, optional
        By default standard error; in a notebook, which shows that on red, standard output.
    """

    def __init__(self, title: str, runs: int, seconds: float, stream: TextIO | None = None) -> None:
        self._title, self._runs, self._seconds = title, runs, max(seconds, 1e-9)
        self._stream = stream or (sys.stdout if _is_of_notebook(sys.stderr) else sys.stderr)
        self._is_terminal = self._stream.isatty()
        # The stream of a notebook is no terminal, but knows how to go back to the start of a line.
        self._is_live = self._is_terminal or _is_of_notebook(self._stream)
        self._width = 0  # of the bar that is shown
        self._begin = time.monotonic()
        self._shown = self._begin
        self._runs_done, self._seconds_done = 0, 0.0
        self.is_shown = False  # becomes True with the first line; short work may end without one

    def say(self, text: str) -> None:
        """Write one line."""
        self.is_shown = True
        self._write(f"{self._title}: {text}", end="\n")

    def _write(self, line: str, end: str = "") -> None:
        """Write a line, in place of the bar if there is one."""
        shown = f"\r{line}{_CLEAR}" if self._is_terminal else f"\r{line:<{self._width}}" if self._width else line
        self._stream.write(shown + end)
        self._stream.flush()
        self._width = len(line) if self._is_live and not end else 0

    def advance(self, runs: int, seconds: float) -> None:
        """Note that a block is done."""
        self._runs_done += runs
        self._seconds_done += seconds
        now = time.monotonic()
        if now - self._shown < (_BAR_SECONDS if self._is_live else _LINE_SECONDS):
            return
        self._shown = now
        share = min(self._seconds_done / self._seconds, 1.0)
        elapsed = now - self._begin
        left = elapsed * (1 - share) / share if share > 0 else 0.0
        text = (
            f"{100 * share:3.0f} % of the work, {self._runs_done} of {format_count(self._runs, 'run')}, "
            f"{self._runs_done / elapsed:.4g} per second, {format_seconds(left)} left"
        )
        if self._is_live:
            self.is_shown = True
            filled = round(share * _BAR_WIDTH)
            self._write(f"{self._title}: {'#' * filled}{'.' * (_BAR_WIDTH - filled)} {text}")
        else:
            self.say(text)

    def finish(self, text: str) -> None:
        """Write the result and the time that the work took."""
        self.say(f"{text}, {format_seconds(time.monotonic() - self._begin)}")
