"""Private parts of Dask and Python stay in one module; no error comes after the end; one answer to interrupts."""

import ast
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.cluster.dask_quirks import block_sigint

ROOT = Path(__file__).parents[2]
# Parts without an underscore that Dask and tornado do not document either.
UNDOCUMENTED = {
    "asyncio_loop", "close_gracefully", "http_server", "last_worker", "new_spec", "thread_condition", "worker_spec",
}  # fmt: skip


def find_private(source: str) -> Iterator[str]:
    """The private parts of other objects, modules and libraries that a module touches, each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner, names = ast.unparse(node.value), [node.attr]
        elif isinstance(node, ast.ImportFrom):
            owner, names = node.module or "", [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        else:
            continue
        for name in names:
            is_private = name.startswith("_") and not name.endswith("__") and owner not in ("self", "cls")
            is_private &= (owner, name) != ("os", "_exit")  # documented, for children of a fork
            if is_private or name in UNDOCUMENTED or (owner, name) == ("logging", "getLogger"):
                yield f"{node.lineno}: {owner}.{name}"


def test_no_other_module_touches_a_private_part_of_a_library() -> None:
    modules = [path for folder in ("cluster", "run") for path in (ROOT / "clhd" / "sweep" / folder).glob("*.py")]
    found = {path.name: list(find_private(path.read_text(encoding="utf-8"))) for path in modules}
    assert len(found) > 10
    quirks = " ".join(found.pop("dask_quirks.py"))
    for part in ("local._created", "client.loop.asyncio_loop", "error.last_worker", "logging.getLogger"):
        assert part in quirks, "the test would not notice it elsewhere"
    assert not {name: parts for name, parts in found.items() if parts}


@pytest.mark.parametrize("library", ["dask", "distributed", "dask-jobqueue"])
def test_no_release_whose_private_parts_nobody_has_seen_is_admitted(library: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *extras["cluster"], *extras["slurm"]]
    (admitted,) = [wanted.specifier for wanted in map(Requirement, texts) if wanted.name == library]
    (locked,) = re.findall(rf"^{library}==(\S+) ", (ROOT / "requirements" / "lock.txt").read_text(), re.MULTILINE)
    assert locked in admitted
    year, month = map(int, locked.split(".")[:2])
    assert f"{year}.{month + 1}" not in admitted
    assert version(library) in admitted


def test_what_dask_leaves_unfinished_at_its_end_is_no_line_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # what other tests have left
    caplog.clear()
    with open_client(Cluster(workers=1)) as client:
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

    with open_client(Cluster(workers=1)) as client:
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
