"""A project in a folder of its own, whose one experiment of the toy system has been run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import clhd.systems.registry
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.config import ConfigContent, read_config
from tests.clients import open_threads

EXPERIMENT = """\
system: toy
description: Heights
axes: {slope: [-1, 0, 1], size: [4, 16]}
times: [0, 1]
replicas: 4
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfigContent]:
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
        Path("hills.yaml").write_text(EXPERIMENT, encoding="utf-8")
        Path("list.yaml").write_text("experiments: [hills.yaml]\n", encoding="utf-8")
        config = read_config("list.yaml")
        with open_threads(1) as client:
            run_experiment(config.experiments["hills"], client, results=config.results)
        yield config
