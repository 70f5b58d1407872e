"""The claims and figures that the system lists are there, for each of its sweeps."""

from collections import Counter
from pathlib import Path

import pytest

from clhd.claims.judge import list_figures, list_files, read_claims
from clhd.figures.plot import find_figure
from clhd.sweep.spec.config import read_config
from clhd.sweep.spec.yaml_file import read_yaml

ROOT = Path(__file__).parents[4]
SYSTEMS = (
    *("attractors", "contrastive", "escape", "phases", "portrait"),
    *("rare_selection", "selection", "sharing", "weights"),
)


@pytest.mark.parametrize("config", ["config.yaml", "paper.yaml"])
def test_every_claim_of_the_config_is_found(config, monkeypatch):
    monkeypatch.chdir(ROOT)
    experiments = read_config(ROOT / "config" / config, check=False).experiments
    settings = read_claims(ROOT / "config" / "claims.yaml", experiments)
    assert list(settings) == list(read_yaml(ROOT / "config" / "claims.yaml"))
    own = {name: entry for name, entry in settings.items() if "contrastive" in type(entry.system).__module__}
    assert list_files(own) == ["claims.json", "claims_matrix.json"]
    claims = [f"C{number}" for number in range(1, 9)]
    assert list_figures(own) == [*claims, "matrix", "matrix_crossed", "universality"]
    figures = Counter(find_figure(experiment) for experiment in experiments.values() if experiment.system in SYSTEMS)
    assert figures.keys() == {
        *("border", "lines", "grid", "trajectories", "none"),
        *("attractors", "dimension", "moments", "noise_correlation"),
        *("escape_law", "optimal_correlation", "phase_regions", "rare_selection"),
    }
