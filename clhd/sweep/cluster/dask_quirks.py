"""`quiet`, `bearing_interrupts`, `forgetting`, `deaf_to_interrupts`: what Dask is not to tell, what it is not to hear.

Where something ends, be it by Ctrl-C, by a fault or in order, a run says one line of its own. Dask's threads and
processes would each add theirs, some with a traceback, and answer an interrupt each in its own way.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

# What tells about every connection that breaks when workers are killed, some with a traceback, and of their folders.
_PARTS = ("batched", "client", "comm", "core", "diskutils", "nanny", "scheduler")
NOISY_AT_THE_END = tuple(f"distributed.{part}" for part in _PARTS)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep loggers silent: a line of our own is enough, where Dask would tell about all that breaks thereby."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def bearing_interrupts() -> Iterator[None]:
    """Have Dask not tell, with a traceback, of an interrupt that comes before it has begun what it was asked for."""

    def is_to_be_told(record: logging.LogRecord) -> bool:
        return "sync.<locals>.cancel" not in record.getMessage()

    logger = logging.getLogger("tornado.application")
    logger.addFilter(is_to_be_told)
    try:
        yield
    finally:
        logger.removeFilter(is_to_be_told)


@contextmanager
def forgetting(client: Any) -> Iterator[None]:
    """Afterwards forget what Dask leaves unfinished when its thread ends, which may be a TimeoutError nobody waits for.

    By it, asyncio would make the last line of a run that went well ``TimeoutError: Timeout``.
    """
    loop = client.loop.asyncio_loop
    try:
        yield
    finally:
        loop.set_exception_handler(lambda *_: None)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start threads and processes that never see Ctrl-C, which a terminal sends to all: this thread alone answers it.

    They inherit the mask. An interrupt that comes meanwhile is answered at the end, when what was started has an owner,
    and a second one once it is seen; the mask does not hold them back, for the threads of other libraries see them.
    """
    resource_tracker.ensure_running()  # by its first start it would take the mask off again
    came: list[int] = []
    answers: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if not came:
            came.append(number)
        elif callable(answers[number]):
            answers[number](number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
            signal.raise_signal(number)

    if threading.current_thread() is threading.main_thread():  # no other may
        answers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # Who ignores them goes on doing so; None is an answer that is not Python's, and cannot be put back.
        answers = {number: answer for number, answer in answers.items() if answer not in (signal.SIG_IGN, None)}
        for number in answers:
            signal.signal(number, note)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a second one that the mask held back comes now
        finally:
            for number, answer in answers.items():
                signal.signal(number, answer)
        if came:
            signal.raise_signal(came[0])
