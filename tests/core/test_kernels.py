"""A kernel's machine code is kept on disk for exactly the source that it was made from."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import clhd
from clhd.core.kernels import source_stamp
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
    changed = tmp_path / "clhd" / "model" / "vector_math.py"
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


def test_kernels_are_cached_under_the_stamp_of_all_sources() -> None:
    # Should numba rename what `kernel` sets, this fails rather than leave a stale kernel on disk.
    assert activate._cache._cache_file._source_stamp == source_stamp()


def test_kernels_release_the_interpreter_and_keep_the_order_of_sums() -> None:
    assert activate.targetoptions["nogil"] is True
    assert activate.targetoptions["fastmath"] == {"contract"}
