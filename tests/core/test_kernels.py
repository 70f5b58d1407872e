"""The machine code of a kernel on disk belongs to exactly one source text."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clhd
from clhd.core.kernels import source_stamp
from clhd.core.machine_code import _hold
from clhd.systems.contrastive.model.activations import activate

# Prints the value of the kernel at 1 and whether its code came from disk.
PROGRAM = """
import json, numpy as np
from clhd.systems.contrastive.model.activations import TANH, activate
h, d = np.empty(1), np.empty(1)
activate(TANH, np.empty(0), np.ones(1), h, d)
print(json.dumps({"h": h[0], "from_disk": bool(activate.stats.cache_hits)}))
"""


def run_in(folder: Path) -> dict[str, float | bool]:
    """Run PROGRAM with the copy of clhd in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": ""}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def test_a_kernel_is_recompiled_when_any_source_changes(tmp_path: Path) -> None:
    source = Path(clhd.__file__).parent
    shutil.copytree(source, tmp_path / "clhd", ignore=shutil.ignore_patterns("__pycache__"))
    first, second = run_in(tmp_path), run_in(tmp_path)
    assert (first["from_disk"], second["from_disk"]) == (False, True)
    assert first["h"] == second["h"]

    # The kernel stands in activations.py, and inlines what changes from this other file.
    changed = tmp_path / "clhd" / "core" / "vector_math.py"
    text = changed.read_text()
    assert text.count("t / (t + 2.0)") == 1
    changed.write_text(text.replace("t / (t + 2.0)", "t / (t + 4.0)"))
    third = run_in(tmp_path)
    assert not third["from_disk"]
    t = np.expm1(2.0)
    np.testing.assert_allclose([first["h"], third["h"]], [t / (t + 2), t / (t + 4)], rtol=1e-15)


# Sums along the last axis; the file may be that of an array with other strides.
SUMS = """
import sys
import numpy as np
from clhd.core.kernels import kernel

@kernel
def add_up(x):
    total = 0.0
    for i in range(len(x)):
        total += x[i]
    return total

values = np.arange(12.0)
print([add_up(values), add_up(values[::2])], sum(add_up.stats.cache_hits.values()))
"""


def test_machine_code_of_other_types_is_not_taken_for_that_of_the_index(tmp_path: Path) -> None:
    script = tmp_path / "sums.py"
    script.write_text(SUMS)

    def run() -> str:
        environment = {**os.environ, "PYTHONPATH": str(Path(clhd.__file__).parents[1]), "NUMBA_CACHE_DIR": ""}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    assert [run(), run()] == ["[66.0, 30.0] 0", "[66.0, 30.0] 2"]
    # What two processes leave that number their files at once: both have written number 1.
    first, second = sorted((tmp_path / "__pycache__").glob("*.nbc"))
    shutil.copy(first, second)
    assert run() == "[66.0, 30.0] 1"


def test_processes_that_want_the_same_code_at_once_compile_it_once(tmp_path: Path) -> None:
    script = tmp_path / "sums.py"
    # All have numba loaded before one of them begins.
    script.write_text(SUMS.replace("values =", "add_up.stats\nprint('ready', flush=True)\ninput()\nvalues ="))
    environment = {**os.environ, "PYTHONPATH": str(Path(clhd.__file__).parents[1]), "NUMBA_CACHE_DIR": ""}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, script], env=environment, **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 3
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    found = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert {(first, second) for first, second, _ in found} == {("[66.0,", "30.0]")}
    assert sum(int(loaded) for _, _, loaded in found) == 4, "two signatures: of three processes, two load each"


HOLDING = """
import sys
from pathlib import Path
from clhd.core.machine_code import _hold

with _hold(Path(sys.argv[1]), "name"):
    print("held", flush=True)
    input()
"""


def test_code_is_compiled_while_another_process_has_died_or_the_locks_cannot_be_opened(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    begin = time.monotonic()
    holder.kill()
    with _hold(tmp_path, "name"), _hold(tmp_path, "name"), _hold(tmp_path / "absent", "name"):
        assert time.monotonic() - begin < 60, "the longest wait is 300 s"
    holder.communicate()


# Two kernels for records of different shapes, which call a third one that is too long to be inlined.
RECORDS = """
import json, math, sys
import numpy as np
from clhd.core.kernels import kernel

@kernel
def spread(group):
    x = group.x
    for m in range(len(x)):
        total = 0.0
        for i in range(x.shape[1]):
            total += math.sin(x[m, i]) * math.exp(-x[m, i] * x[m, i]) + math.log(2.0 + math.cos(x[m, i]))
        for i in range(x.shape[1]):
            x[m, i] = math.tanh(x[m, i] + 0.1 * total) / (1.0 + math.sqrt(abs(total)))

@kernel
def advance(steps, group):
    for step in range(steps):
        spread(group)
        if step % 3 == 1:
            spread(group)

@kernel
def advance_twice(group):
    spread(group)
    group.x[0, 0] += 1.0
    spread(group)

found = {}
for name in sys.argv[1:]:
    shape = {"long": (2, 24), "wide": (5, 8)}[name]
    for function, arguments in ((advance, (7,)), (advance_twice, ())):
        group = np.zeros(1, np.dtype([("x", np.float64, shape)]))[0]
        group["x"][:] = np.linspace(0.1, 1.0, shape[0] * shape[1]).reshape(shape)
        function(*arguments, group)
        found[f"{name}, {function.__name__}"] = group["x"].tobytes().hex()
print(json.dumps(found))
"""


def test_kernels_for_two_records_that_were_compiled_at_once_do_not_call_each_others_callees(tmp_path: Path) -> None:
    script = tmp_path / "records.py"
    script.write_text(RECORDS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(clhd.__file__).parents[1]),
        "NUMBA_CACHE_DIR": str(tmp_path),
    }

    def start(*names: str) -> subprocess.Popen[str]:
        command = [sys.executable, script, *names]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def read(process: subprocess.Popen[str]) -> dict[str, str]:
        return json.loads(process.communicate()[0])

    # At once: neither finds in the cache what the other has compiled, so both name their first record type alike.
    processes = [start("long"), start("wide")]
    compiled_apart = {name: bits for process in processes for name, bits in read(process).items()}
    assert len(compiled_apart) == 4
    assert read(start("long", "wide")) == compiled_apart
    assert read(start("wide", "long")) == compiled_apart


# A helper that a kernel of another file inlines.
HELPER = """
from clhd.core.kernels import inlined

@inlined
def rate(x):
    return 2 * x
"""
CALLER = """
from clhd.core.kernels import kernel
from {package}helper import rate

@kernel
def change(x):
    return rate(x) + 1.0
"""
PRINT = "print(change(2.0), sum(change.stats.cache_hits.values()))"


@pytest.mark.parametrize("package", ["", "pack.", "pack.deep."])
def test_a_kernel_outside_of_clhd_is_recompiled_when_a_helper_changes(tmp_path: Path, package: str) -> None:
    """Beside a single file, and in another folder of the same package."""
    helper, caller = tmp_path / f"{package.replace('.', '/')}helper.py", tmp_path / "caller.py"
    helper.parent.mkdir(parents=True, exist_ok=True)
    code = CALLER.format(package=package)
    if package:
        caller = tmp_path / "pack" / "caller.py"
        for folder in {helper.parent, caller.parent}:
            (folder / "__init__.py").touch()
    caller.write_text(code)
    module = "pack.caller" if package else "caller"

    def run() -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(clhd.__file__).parents[1]), str(tmp_path)]),
            "NUMBA_CACHE_DIR": "",
            "PYTHONDONTWRITEBYTECODE": "1",  # byte code goes by the second of a file's date
        }
        program = [sys.executable, "-c", f"from {module} import change; {PRINT}"]
        done = subprocess.run(program, env=environment, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    helper.write_text(HELPER)
    assert [run(), run()] == ["5.0 0", "5.0 1"]
    helper.write_text(HELPER.replace("2 * x", "5 * x"))
    assert [run(), run()] == ["11.0 0", "11.0 1"]


def test_a_kernel_of_a_script_and_of_a_module_that_is_run_find_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "pack" / "deep").mkdir(parents=True)
    for folder in ("pack", "pack/deep"):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "pack" / "deep" / "helper.py").write_text(HELPER)
    (tmp_path / "pack" / "caller.py").write_text(CALLER.format(package="pack.deep.") + PRINT)

    def run() -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(clhd.__file__).parents[1])])}
        environment |= {"NUMBA_CACHE_DIR": "", "PYTHONDONTWRITEBYTECODE": "1"}
        program = [sys.executable, "-m", "pack.caller"]
        done = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    assert [run(), run()] == ["5.0 0", "5.0 1"]
    (tmp_path / "pack" / "deep" / "helper.py").write_text(HELPER.replace("2 * x", "5 * x"))
    assert run() == "11.0 0"


def test_a_kernel_without_a_file_is_compiled_without_a_cache() -> None:
    """As on a worker elsewhere, which has the text of a system but not its file."""
    names: dict[str, Any] = {"__name__": "nowhere"}
    code = "from clhd.core.kernels import kernel\n@kernel\ndef double(x):\n    return 2 * x\n"
    exec(compile(code, "/no/such/file.py", "exec"), names)
    assert names["double"](2.0) == 4.0


def test_kernels_are_cached_under_the_stamp_of_all_sources() -> None:
    # Should numba rename what `kernel` sets, this fails rather than leave a stale kernel on disk.
    assert activate._cache._cache_file._source_stamp == source_stamp()


def test_kernels_release_the_interpreter_and_keep_the_order_of_sums() -> None:
    assert activate.targetoptions["nogil"] is True
    assert activate.targetoptions["fastmath"] == {"contract"}


def test_without_a_place_for_the_cache_kernels_go_to_a_temporary_folder_and_one_line_says_so(tmp_path: Path) -> None:
    """As in a container with a read-only installation and no home; the processes that it starts share the folder."""
    (tmp_path / "tmp").mkdir()
    script = tmp_path / "sums.py"
    start_another = (
        "import subprocess\nif len(sys.argv) < 2: subprocess.run([sys.executable, __file__, '2'], check=True)"
    )
    script.write_text(SUMS.replace("\nprint(", f"\n{start_another}\nprint("))
    (tmp_path / "__pycache__").write_text("not a folder")
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(clhd.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": "",
        "HOME": os.devnull,
        "XDG_CACHE_HOME": os.devnull,
        "TMPDIR": str(tmp_path / "tmp"),
    }
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[66.0, 30.0] 0", "[66.0, 30.0] 2"]
    assert done.stderr.startswith("compiled kernels cannot be kept, since neither ")
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "tmp").iterdir()) == [], "the folder goes with the process"


def test_a_cache_that_cannot_be_read_or_written_costs_time_and_no_result(tmp_path: Path) -> None:
    script = tmp_path / "sums.py"
    script.write_text(SUMS)
    environment = {**os.environ, "PYTHONPATH": str(Path(clhd.__file__).parents[1]), "NUMBA_CACHE_DIR": ""}

    def run() -> str:
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    assert run() == "[66.0, 30.0] 0"
    cut, kept = sorted((tmp_path / "__pycache__").glob("*.nbc"))
    cut.write_bytes(cut.read_bytes()[:100])
    assert run() == "[66.0, 30.0] 1"
    kept.unlink()
    kept.mkdir()  # a file that can be neither read nor replaced
    assert run() == "[66.0, 30.0] 1"


# A kernel between an inlined function, which calls it, and the kernel that is called first.
NESTED = """
import sys
from clhd.core.kernels import inlined, kernel

@kernel
def add_up(x):
    total = 0.0
    for i in range(int(x)):
        total += x / (i + 1.0)
    return total

@inlined
def between(x):
    return 1.0 + add_up(x)

@kernel
def above(x):
    return between(x) * between(x + 1.0)

if sys.argv[1] == "callee":
    add_up(2.0)
above(2.0)
(code,) = add_up.inspect_llvm().values()
print("alwaysinline" in code)
"""


@pytest.mark.parametrize("first", ["callee", "caller"])
def test_a_kernel_is_not_forced_inline_by_the_caller_that_it_is_first_compiled_for(tmp_path: Path, first: str) -> None:
    script = tmp_path / "nested.py"
    script.write_text(NESTED)
    environment = {**os.environ, "PYTHONPATH": str(Path(clhd.__file__).parents[1]), "NUMBA_CACHE_DIR": ""}
    done = subprocess.run([sys.executable, script, first], env=environment, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"


POINTED = """
import sys
import numpy as np
from clhd.core.kernels import call_at, find_pointer, kernel

@kernel
def add_up(x, scale):
    if scale < 0.0:
        raise ValueError("below 0")
    total = 0.0
    for i in range(len(x)):
        total += scale * x[i]
    return total, 2.0 * total

@kernel
def above(pointer, x, scale):
    total, twice = call_at(pointer, (x, scale), (0.0, 0.0))
    return total + twice

values = np.arange(4.0)
pointer = find_pointer(add_up, np.empty(0), 1.0)
print(above(pointer, values, 0.5), "add_up" in "".join(above.inspect_llvm().values()))
for arguments in ((values, -1.0), (values[::2], 1.0)):
    try:
        above(pointer, *arguments)
    except Exception as error:
        print(f"{type(error).__name__}: {error}"[:40])
"""


def test_a_kernel_calls_another_one_at_a_pointer_without_a_copy_of_it(tmp_path: Path) -> None:
    script = tmp_path / "pointed.py"
    script.write_text(POINTED)
    environment = {**os.environ, "PYTHONPATH": str(Path(clhd.__file__).parents[1]), "NUMBA_CACHE_DIR": ""}
    for _ in range(2):  # compiled, then loaded: the address is that of each process
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, check=True, text=True)
        value, *errors = done.stdout.splitlines()
        assert value == "9.0 False"
        assert errors == ["ValueError: below 0", "TypeError: a pointer to a kernel for oth"]
