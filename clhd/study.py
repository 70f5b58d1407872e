"""`write_study`: a folder of one's own to begin with: a list, an experiment, a Snakefile, and what to type.

The Snakefile includes the workflow of the installed clhd, so that a study holds no copy of its rules.
"""

from pathlib import Path

from clhd.core.files import write_new_files
from clhd.errors import InputError, explain_unwritable

# NAME is put in.
_FILES = {
    "config/config.yaml": """# yaml-language-server: $schema=config.schema.json
# What `snakemake` computes. Each experiment is one file.
results: results
experiments:
  - config/experiments/first.yaml
""",
    "config/experiments/first.yaml": """# yaml-language-server: $schema=../experiment.schema.json
# Which points are computed. `clhd plan FILE` says what that takes; add a value, and only what is new is computed.
description: Two features of equal second moment compete, by kurtosis of the second and dimension
system: contrastive
# Parameters with one value for all points; a list gives each feature its value.
constants:
  features: 2
  second_moment: 1.5
  kurtosis_1: 1
  learning_rate: 0.3
  weight_decay: 0.6
  initial_cosine_similarity: [0.3, 0.25]
# Parameters that vary: the grid is the product of the axes.
axes:
  kurtosis_2: [1, 2, 3]
  dimension: [100, 1000]
times: {start: 0, stop: 20, count: 21}
# Independent runs of each point.
replicas: 16
# Root of all random numbers.
seed: 0
figure: trajectories
""",
    "profiles/default/config.yaml": """# The options of `snakemake` without further flags.
cores: all
keep-going: true  # a failure in one experiment does not stop the other experiments
nolock: true  # each store has its own lock, which ends with its process
rerun-incomplete: true  # an interrupted stage goes on where it stopped
""",
    "Snakefile": """# The workflow of the installed clhd, with the list of experiments in config/config.yaml.
from importlib.resources import files


include: str(files("clhd") / "workflow" / "Snakefile")


workflow.default_target = "all"
""",
    "README.md": """# NAME

A study with clhd. In this folder,

    snakemake                                  # everything in config/config.yaml, on all cores
    clhd plan config/experiments/first.yaml    # what an experiment takes
    clhd run config/experiments/first.yaml     # one experiment, without Snakemake
    clhd status                                # what is done

Look at `results/report.html` and `results/first/figures/first.png`, then change `config/experiments/first.yaml`.
In Python,

    import clhd
    results = clhd.open_results("results/first")
    print(results.summary.cosine_similarity_mean.isel(time=-1).to_dataframe())
""",
    ".gitignore": """results/
.snakemake/
""",
}


def write_study(folder: Path) -> list[Path]:
    """Write the files of a study into a new folder, and return their paths.

    Parameters
    ----------
    folder : Path
        It must not exist, or be empty.

    Raises
    ------
    ClhdError
        If there is something in the folder already, or it cannot be written.
    """
    from clhd.sweep.spec.config import format_config_schema, format_schema  # noqa: PLC0415 (they ask every system)

    with explain_unwritable(folder):
        if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
            raise InputError(f"{folder}: exists already; choose another name")
    texts = {name: text.replace("NAME", folder.absolute().name) for name, text in _FILES.items()}
    texts |= {
        "config/experiment.schema.json": format_schema(),
        "config/config.schema.json": format_config_schema(),
    }
    write_new_files({folder / name: text for name, text in texts.items()})
    return [folder / name for name in texts]
