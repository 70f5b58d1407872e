"""What Dask leaves unfinished is not told, and an interrupt is answered once, when what was started has an owner."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

import pytest

from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.cluster.dask_quirks import block_sigint


def test_what_dask_leaves_unfinished_at_its_end_is_no_line_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # what other tests have left
    caplog.clear()
    with open_client(Cluster(workers=1), processes=False) as client:
        unread = client.loop.asyncio_loop.create_future()
    unread.set_exception(TimeoutError("Timeout"))
    del unread
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_an_interrupt_before_dask_has_begun_what_it_was_asked_for_is_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asking, free, over = threading.get_ident(), threading.Event(), threading.Event()

    def interrupt() -> None:
        while find_call() != "wait":
            if over.wait(0.01):
                return
        os.kill(os.getpid(), signal.SIGINT)

    def find_call() -> str:
        """The function of Dask in which the other thread is."""
        stack = traceback.extract_stack(sys._current_frames()[asking])
        return ([""] + [call.name for call in stack if "distributed" in call.filename])[-1]

    with open_client(Cluster(workers=1), processes=False) as client:
        client.loop.add_callback(free.wait, 60)  # Dask's thread is busy
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                client.nthreads()
        finally:
            over.set()
            free.set()
            interrupting.join()
        assert client.nthreads()  # it has cancelled the first question by now
    assert not [record for record in caplog.records if record.name.startswith("tornado")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_what_was_started_has_an_owner(number: signal.Signals) -> None:
    done: list[int] = []

    def start() -> None:
        with block_sigint():
            os.kill(os.getpid(), number)
            done.append(1)

    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert done
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_is_answered_at_once(number: signal.Signals) -> None:
    missed: list[int] = []
    over = threading.Event()
    other = threading.Thread(target=over.wait)  # like those of libraries, it does not block Ctrl-C
    other.start()

    def start() -> None:
        with block_sigint():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), number)
            for _ in range(600):  # until the other thread has seen it
                time.sleep(0.05)
            missed.append(number)

    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert not missed
    finally:
        over.set()
        other.join()
        for each, answer in before.items():
            signal.signal(each, answer)


@pytest.mark.parametrize(("answer", "code"), [("SIG_DFL", -signal.SIGTERM), ("SIG_IGN", 0)])
def test_signals_that_no_function_answers_are_answered_as_they_were(answer: str, code: int) -> None:
    program = (
        "import os, signal\n"
        "from clhd.sweep.cluster.dask_quirks import block_sigint\n"
        f"signal.signal(signal.SIGTERM, signal.{answer})\n"
        "with block_sigint():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('blocked', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ("blocked\n" if code == 0 else "")
