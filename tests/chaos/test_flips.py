"""A share of the flips of `make chaos`: one bit in every fifth file under results/."""

from pathlib import Path

import pytest

from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.results.open_results import open_results
from clhd.sweep.spec.config import read_config
from clhd.sweep.store.store import Store
from tests.chaos.flips import flip_bits, is_noticed, list_files
from tests.chaos.operations import know_toy, write_project


def make_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that clhd makes, of a small experiment of the toy system with a claim."""
    monkeypatch.chdir(folder)
    know_toy(monkeypatch)
    write_project()
    for command in (["run", "toy.yaml"], ["plot", "toy.yaml"], ["claims", "config.yaml"], ["report", "config.yaml"]):
        assert main(command) == 0


def test_a_flipped_bit_in_a_file_is_noticed_and_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_results(tmp_path, monkeypatch)
    config = read_config("config.yaml")
    assert not is_noticed(config)
    found = flip_bits(config, 0, seed=0, every=5)
    assert found.flips == found.files == len(list_files(config.results)[::5]) > 10
    assert (found.unnoticed, found.used) == ([], [])
    assert main(["status", "config.yaml", "--deep"]) == 0


def test_swapped_and_older_chunks_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_results(tmp_path, monkeypatch)
    config = read_config("config.yaml")
    folder = config.results / "toy" / "simulation.zarr" / "height"
    first, second = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")[:2]
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    assert is_noticed(config)
    assert main(["summarise", "toy.yaml"]) == 2
    assert main(["run", "toy.yaml", "--repair"]) == 0
    assert main(["status", "config.yaml", "--deep"]) == 0, "the same bits as before"
    assert (first.read_bytes(), second.read_bytes()) == contents
    store = Store(folder.parent)
    chunk = store.read_chunk((0, 0, 0))
    store.write_chunk((0, 0, 0), chunk)
    assert main(["summarise", "toy.yaml"]) == 0
    assert store.read("height").tolist() == Store(folder.parent).read("height").tolist()
    first.write_bytes(contents[0])  # it is intact, but older than its status
    assert is_noticed(config)
    with pytest.raises(ClhdError, match="is damaged, or another file stands in its place"):
        open_results(config.results / "toy")["simulation"]["height"].load()
