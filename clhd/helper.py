"""`serve`: a process that has loaded what jobs of a workflow need, and forks for each; `ask`: what its clients do.

Half of the time of a figure, and a second of each stage, goes by while Python and libraries are loaded, and a workflow
has two hundred such jobs. Each is still a job of its own, with its log, its messages and its exit code: its process
asks the helper, a fork of which works with the streams, the folder and the environment of the job.

| promise | how it is kept |
|---|---|
| no failure is lost | the exit code is that of the command; if there is no answer, the job runs the command itself |
| no other user can ask | the socket has no address in a network, and the kernel tells whose process asks |
| a job can be cancelled | when its process ends, however it does, the kernel sends SIGTERM to the fork |
| no process survives the run | the helper ends when its standard input does; its forks are killed when it ends |
"""

import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NoReturn

from clhd.errors import ClhdError

VARIABLE = "CLHD_HELPER"  # the address, for processes of jobs
_COMMANDS = ("simulate", "predict", "summarise", "plot")
_ABSTRACT = "\0"  # begins an address of Linux that is no file, and is free again when its process ends
# All processes of a run get the first two, and those of jobs answer; nobody waits for a fork that ends.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
_CREDENTIALS = struct.Struct("3i")  # process, user and group


def ask(arguments: Sequence[str]) -> int | None:
    """Have the helper run a command; return its exit code. None if this process is to run it."""
    address = os.environ.get(VARIABLE)
    if not address or not arguments or arguments[0] not in _COMMANDS:
        return None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fork gets it too, and answers
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(_ABSTRACT + address)
            socket.send_fds(connection, [b"\n"], [0, 1, 2])
            request = [os.getcwd(), dict(os.environ), list(arguments)]  # noqa: PTH109 (pathlib is not imported yet)
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1)
    except OSError:
        return None
    finally:
        signal.signal(signal.SIGINT, before)
    return answer[0] if answer else None


def serve(systems: tuple[str, ...] = ()) -> None:
    """Print the address, and fork for each client until standard input ends.

    Parameters
    ----------
    systems : tuple of str
        Names of the systems whose modules are loaded before the first fork; those of files are not.
    """
    from clhd.core.surroundings import ignore_settings, limit_threads  # noqa: PLC0415 (clients do without)
    from clhd.sweep.run.children import can_fork  # noqa: PLC0415

    answers = {name: signal.signal(name, signal.SIG_IGN) for name in _SIGNALS}
    ignore_settings()
    limit_threads()
    if not can_fork():
        return
    address = f"clhd-{os.urandom(16).hex()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_ABSTRACT + address)
        listener.listen()
        print(address, flush=True)  # noqa: T201
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if not _is_ours(connection):
                    continue
                _load(systems)
                if can_fork() and os.fork() == 0:
                    _run(connection, answers)


def _is_ours(connection: socket.socket) -> bool:
    """True if a process of this user asks."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(found)[1] == os.getuid())


@cache
def _load(systems: tuple[str, ...]) -> None:
    """Import what jobs need; only the first clients wait for it."""
    from clhd.core.surroundings import spare_dask  # noqa: PLC0415

    spare_dask()
    import matplotlib.backends.backend_pdf  # noqa: F401, PLC0415
    import numba  # noqa: F401, PLC0415

    import clhd.figures.lines  # noqa: PLC0415
    import clhd.sweep.results.summary  # noqa: PLC0415
    import clhd.sweep.results.summary_reader  # noqa: PLC0415
    import clhd.sweep.run.run_stage  # noqa: F401, PLC0415
    from clhd.systems.registry import find_system, list_systems  # noqa: PLC0415

    for name in list_systems().keys() & systems:
        with suppress(ClhdError):  # told by the jobs
            find_system(name)
    gc.freeze()  # see `clhd.sweep.run.children`


def _run(connection: socket.socket, answers: Mapping[signal.Signals, Any]) -> NoReturn:
    """Run the command of a client, with the answers to signals that it would have; this is all that a fork does."""
    from clhd.cli import main  # noqa: PLC0415
    from clhd.sweep.run.children import die_with_parent  # noqa: PLC0415

    try:
        die_with_parent()
        for name, answer in answers.items():
            signal.signal(name, answer)
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
        with connection.makefile("rb") as request:
            folder, environment, arguments = json.load(request)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[1:] = arguments
        with _end_with(connection):
            code = main(arguments)
        connection.send(bytes([code]))
    finally:
        os._exit(0)


@contextmanager
def _end_with(connection: socket.socket) -> Iterator[None]:
    """Have the kernel of the system send SIGTERM to this process if the other end of a connection is closed."""
    descriptor = connection.fileno()
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    state = select.poll()
    state.register(descriptor, 0)
    if state.poll(0):  # it was closed before
        os.kill(os.getpid(), signal.SIGTERM)
    yield
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


if __name__ == "__main__":
    serve(tuple(sys.argv[1:]))
