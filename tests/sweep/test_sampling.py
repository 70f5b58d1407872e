"""What the key replicas may say, and the line that each mistake gets."""

from typing import Any

import pytest

from clhd.errors import ClhdError
from clhd.sweep.spec.experiment import parse_experiment
from clhd.sweep.spec.rounds import Sampling, parse_sampling
from tests.sweep.conftest import MakeExperiment

RIGHT: dict[str, Any] = {"start": 4, "most": 40, "until": {"height": 0.1}}


def test_each_round_doubles_the_replicas_up_to_the_most(toy: MakeExperiment) -> None:
    experiment = toy(replicas=RIGHT)
    assert experiment.sampling.counts == (4, 8, 16, 32, 40)
    assert (experiment.replicas, toy(replicas=7).sampling) == (40, Sampling(7, 7))
    assert Sampling(8, 8, {"height": 1.0}).counts == (8,)


def test_a_target_is_read_back_from_plain_values(toy: MakeExperiment) -> None:
    experiment = toy(replicas=RIGHT | {"at": 2})
    assert experiment.sampling == Sampling(4, 40, {"height": 0.1}, 2.0)
    for check in (True, False):
        assert parse_experiment(experiment.resolved(), check=check).sampling == experiment.sampling
    assert toy(replicas=7).resolved()["replicas"] == 7


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"start": 1}, "replicas.start = 1: must be a whole number, 2 or more"),
        ({"most": 3}, "replicas.most = 3: must be at least start = 4"),
        ({"until": {"height": 0}}, "replicas.until.height = 0: must be a finite number greater than 0"),
        ({"until": {"height": -1}}, "replicas.until.height = -1: must be a finite number greater than 0"),
        ({"until": {"width": 1}}, "replicas.until.width: must be an output of the simulation: height"),
        ({"until": {}}, "replicas.until = {}: must be a table of output: standard error"),
        ({"until": 0.1}, "replicas.until = 0.1: must be a table of output: standard error"),
        ({"at": 3}, "replicas.at = 3.0: must be one of times: 0, 1 and 2"),
        ({"att": 3}, "unknown key 'att'; did you mean 'at'?"),
    ],
)
def test_a_mistake_gets_one_line(toy: MakeExperiment, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ClhdError) as error:
        toy(replicas=RIGHT | changes)
    (found,) = str(error.value).splitlines()
    assert found.startswith("experiment: replicas")
    assert found.endswith(line)


def test_all_mistakes_are_told_at_once_and_a_lacking_key_too(toy: MakeExperiment) -> None:
    with pytest.raises(ClhdError) as error:
        toy(replicas={"start": 0, "most": "x", "until": {"height": 0, "b": None}})
    assert len(str(error.value).splitlines()) == 4
    with pytest.raises(ClhdError, match=r"replicas.most: must be given\n.*replicas.at: is the time of a target"):
        toy(replicas={"start": 4, "at": 2})
    with pytest.raises(ClhdError, match="must be a number"):
        parse_sampling([4])


def test_rounds_need_somebody_who_decides(toy: MakeExperiment) -> None:
    free = {"start": 4, "most": 40}
    refine: dict[str, Any] = {"quantity": "height_mean", "select": {"time": 2}, "level": 1, "along": ["slope"]}
    axes = {"slope": {"start": 0, "stop": 1, "count": 4}}
    experiment = toy(axes=axes, replicas=free, refine=refine | {"rounds": 2})
    for check in (True, False):
        assert parse_experiment(experiment.resolved(), check=check).sampling == Sampling(4, 40)
    by_theory = refine | {"rounds": 2, "quantity": "height_theory"}
    for changes in ({}, {"refine": by_theory}):
        with pytest.raises(ClhdError) as error:
            toy(axes=axes, replicas=free, **changes)
        (line,) = str(error.value).splitlines()
        assert "replicas.most = 40: is for points with too large an error; give until, or refine by a simulated" in line


def test_moments_need_whole_blocks_in_every_round(toy: MakeExperiment) -> None:
    with pytest.raises(ClhdError, match="keep = 'moments': needs a multiple of 256 replicas, not replicas = 4"):
        toy(replicas=RIGHT | {"most": 512}, keep="moments")
    assert toy(replicas=RIGHT | {"start": 256, "most": 768}, keep="moments").sampling.counts == (256, 512, 768)
