"""A sample of the kill campaign: one folder, four kills, and the same bits in the end."""

from pathlib import Path

from distributed import Client

from clhd.sweep.run_experiment import run_experiment
from tests.chaos.experiments import NAME, Undisturbed, write_experiment
from tests.chaos.known import KINDS, read_known, read_summary
from tests.chaos.scenario import Act, Scenario
from tests.chaos.stage import Stage
from tests.sweep.conftest import client  # noqa: F401  # a fixture


def test_what_is_done_survives_four_kills_and_ends_as_if_nothing_had_been(
    tmp_path: Path,
    client: Client,  # noqa: F811
) -> None:
    acts = (
        Act("base", "worker", "computing", 0.0),
        Act("wider", "driver", "growth", 0.0),
        Act("wider", "all", "any", 0.4),
        Act("wider", "driver", "summary", 0.0),
    )
    scenario = Scenario(0, "clhd", "processes", "empty", acts)
    summaries = {}
    for form in ("base", "wider"):
        place = tmp_path / f"undisturbed-{form}"
        place.mkdir()
        write_experiment(place, scenario.size, form)
        run_experiment(place / f"{NAME}.yaml", client, results=place / "results")
        summaries[scenario.size, form] = read_summary(place / "results" / NAME / "summary.zarr")
    stores = place / "results" / NAME
    known = {stage: read_known(stores / f"{stage}.zarr") for stage in KINDS}
    reference = {stage: store for stage, store in known.items() if store is not None}
    moments = {("clhd", scenario.size, form): Undisturbed(place, 6.0, {}) for form in ("base", "wider")}
    key = (scenario.size, "wider")
    stage = Stage(scenario, tmp_path / "killed", moments, {key: reference}, summaries)
    try:
        outcome = stage.play()
    finally:
        stage.stop()
    assert outcome.problems == []
    assert [kill["killed"] for kill in outcome.kills[:2]] == [["worker"], ["driver"]]
    assert "driver" in outcome.kills[2]["killed"]
    assert outcome.kills[3]["killed"] == ["driver"]
    assert (outcome.lost_blocks, outcome.manual_steps) == (0, 0)
    assert outcome.finished_blocks > 3 * 24, "what was done at each of the four kills, together"
