"""`write_skeleton`: a system of one's own to begin with, as two files that run as they are: NAME.py and NAME.yaml."""

import keyword
import re
from importlib.util import find_spec
from pathlib import Path

from clhd.core.files import write_new_files
from clhd.errors import InputError

_NAME_FORM = re.compile("[a-z][a-z0-9_]{0,99}")

# Particles that relax, with noise; NAME, CLASS and TITLE are put in.
_SYSTEM = '''"""TITLE: say here what is simulated, and what theory stands beside it."""

import numpy as np

import clhd


class CLASS(clhd.System):
    """Particles fall back from 1 to 0, with noise: dx = -rate x dt + noise dW, whose steps are known exactly."""

    # For people: the head of figures and of the report.
    title = "TITLE"
    # The parameter n for which the theory is the limit of large n, and what that limit is called.
    size, limit = "particles", "limit of many particles"
    # What can be set in the experiment, as a constant or as an axis. default=None: the experiment must set it.
    parameters = {
        "rate": clhd.Parameter(kind="number", default=1.0, above=0, meaning="rate of relaxation", symbol="gamma"),
        "noise": clhd.Parameter(kind="number", default=1.0, minimum=0, meaning="strength of the noise", symbol="sigma"),
        # in_theory=False: the theory does not depend on it, so it is not predicted again for each value.
        "particles": clhd.Parameter(kind="count", default=100, minimum=1, meaning="particles", in_theory=False),
    }
    # What simulate and predict return: the dims of each quantity, and its words.
    outputs = {"position": clhd.Output(dims=("time",), words=clhd.describe("mean position", "x"))}

    def estimate_seconds(self, values, time):
        """How long one run takes, about: blocks are made of as many runs as are worth a task."""
        return 1e-4 + 1e-8 * values.particles * len(time)

    def simulate(self, values, time, random):
        """One run. All its random numbers come from `random`, so that it can be computed again, bit by bit."""
        x, now, found = np.ones(values.particles), 0.0, []
        for end in time:
            decay = np.exp(-values.rate * (end - now))
            spread = values.noise * np.sqrt((1 - decay**2) / (2 * values.rate))
            x = decay * x + spread * random.normal(size=x.size)
            found.append(x.mean())
            now = end
        return {"position": found}

    def predict(self, values, time):
        """The theory of one point; leave this function out if there is none."""
        return {"position": np.exp(-values.rate * time)}
'''

_EXPERIMENT = """# Which points are computed: clhd plan NAME.yaml says what that takes, clhd run NAME.yaml does it.
system: NAME.py:CLASS
description: Relaxation of the mean, by rate and number of particles
# Parameters with one value for all points.
constants:
  noise: 0.5
# Parameters that vary. Results grow along each: add a value, run again, and only what is new is computed.
axes:
  rate: [0.5, 1, 2]
  particles: [100, 1000]
times: [0.5, 1, 2]
# Independent runs of each point.
replicas: 16
# Root of all random numbers.
seed: 0
"""


def write_skeleton(name: str, folder: Path) -> list[Path]:
    """Write the two files, and return their paths.

    Parameters
    ----------
    name : str
        Of the files; the class is named after it.
    folder : Path

    Raises
    ------
    ClhdError
        If the name cannot be that of results or is that of a module, or one of the files exists already: nothing is
        written then.
    """
    if keyword.iskeyword(name):
        raise InputError(f"NAME = {name!r}: is a word of Python itself; choose another")
    if not _NAME_FORM.fullmatch(name):
        raise InputError(f"NAME = {name!r:.60}: must be lower-case letters, digits and _, starting with a letter")
    class_name = "".join(word.capitalize() for word in name.split("_"))
    texts = {folder / f"{name}.py": _SYSTEM, folder / f"{name}.yaml": _EXPERIMENT}
    for path in texts:
        if path.exists() or path.is_symlink():
            raise InputError(f"{path}: exists already; choose another name, or move it away")
    found = find_spec(name)
    if found is not None and found.origin is not None:  # else it is a folder
        raise InputError(f"NAME = {name!r}: is a module of Python, which {name}.py would hide; choose another")
    words = {"NAME": name, "CLASS": class_name, "TITLE": name.replace("_", " ")}
    fill = re.compile("|".join(words)).sub
    write_new_files({path: fill(lambda found: words[found[0]], text) for path, text in texts.items()})
    return list(texts)
