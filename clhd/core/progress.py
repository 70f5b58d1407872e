"""`Progress`: the share of long work that is done, its rate and the time left; a bar on a terminal, else lines."""

import sys
import time
from typing import TextIO

from clhd.core.text import format_count, format_seconds

_BAR_SECONDS, _LINE_SECONDS = 0.2, 15.0
_BAR_WIDTH = 24
_CLEAR = "\r\x1b[K"  # back to the start of the line, and clear it


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
        Standard error by default.
    """

    def __init__(self, title: str, runs: int, seconds: float, stream: TextIO | None = None) -> None:
        self._title, self._runs, self._seconds = title, runs, max(seconds, 1e-9)
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._begin = time.monotonic()
        self._shown = self._begin
        self._runs_done, self._seconds_done = 0, 0.0
        self.is_shown = False  # becomes True with the first line; short work may end without one

    def say(self, text: str) -> None:
        """Write one line."""
        self.is_shown = True
        self._stream.write(f"{_CLEAR if self._is_terminal else ''}{self._title}: {text}\n")
        self._stream.flush()

    def advance(self, runs: int, seconds: float) -> None:
        """Note that a block is done."""
        self._runs_done += runs
        self._seconds_done += seconds
        now = time.monotonic()
        if now - self._shown < (_BAR_SECONDS if self._is_terminal else _LINE_SECONDS):
            return
        self._shown = now
        share = min(self._seconds_done / self._seconds, 1.0)
        elapsed = now - self._begin
        left = elapsed * (1 - share) / share if share > 0 else 0.0
        text = (
            f"{100 * share:3.0f} % of the work, {self._runs_done} of {format_count(self._runs, 'run')}, "
            f"{self._runs_done / elapsed:.4g} per second, {format_seconds(left)} left"
        )
        if self._is_terminal:
            self.is_shown = True
            filled = round(share * _BAR_WIDTH)
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            self._stream.write(f"{_CLEAR}{self._title}: {bar} {text}")
            self._stream.flush()
        else:
            self.say(text)

    def finish(self, text: str) -> None:
        """Write the result and the time that the work took."""
        self.say(f"{text}, {format_seconds(time.monotonic() - self._begin)}")
