"""A store is whole at every moment: chunks, their metadata, and the checksum of the metadata."""

import contextlib
import errno
import json
import shutil
import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from clhd.errors import ClhdError
from clhd.sweep.plan.blocks import choose_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.open_results import BoundStore
from clhd.sweep.spec.experiment import read_experiment
from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.create import create_store
from clhd.sweep.store.metadata import MetadataError, check_metadata
from clhd.sweep.store.repair import repair_store
from clhd.sweep.store.store import Store
from clhd.sweep.store.zarr_format import write_document
from clhd.systems.declarations import Status
from tests.sweep.conftest import Killed, MakeExperiment, killed_at
from tests.sweep.stages import overwrite
from tests.sweep.toy import ToySystem


def fill(store: Store, value: float, status: Status) -> dict[str, np.ndarray[Any, Any]]:
    """A chunk as a task would have computed it."""
    chunk = store.make_chunk((0, 0, 0))
    chunk["height"][...] = value
    chunk["status"][...] = status
    return chunk


def test_a_twin_that_failed_takes_nothing_away(store: Store) -> None:
    needed = np.ones(store.chunks, dtype=bool)
    store.merge_chunk((0, 0, 0), needed, fill(store, 1.0, Status.OK), 0)
    store.merge_chunk((0, 0, 0), needed, fill(store, np.nan, Status.FAILED), 0)
    chunk = store.read_chunk((0, 0, 0))
    assert (chunk["height"] == 1).all()
    assert (chunk["status"] == Status.OK).all()
    assert (chunk["attempts"] == 1).all()


def test_a_chunk_makes_no_store_anew_that_was_moved_away(store: Store) -> None:
    chunk = fill(store, 1.0, Status.OK)
    store.path.rename(store.path.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError):
        store.write_chunk((0, 0, 0), chunk)
    assert not store.path.exists()


def test_a_task_adds_what_it_was_asked_for_and_leaves_the_rest(store: Store) -> None:
    needed = np.zeros(store.chunks, dtype=bool)
    needed.flat[0] = True
    store.merge_chunk((0, 0, 0), needed, fill(store, 1.0, Status.OK), 0)
    store.merge_chunk((0, 0, 0), ~needed, fill(store, 2.0, Status.DIVERGED), 1)
    chunk = store.read_chunk((0, 0, 0))
    assert (chunk["height"][needed] == 1).all()
    assert (chunk["height"][~needed] == 2).all()
    assert (chunk["run"] == np.where(needed, 0, 1)).all()
    assert (chunk["status"] == np.where(needed, Status.OK, Status.DIVERGED)).all()


@pytest.mark.parametrize("before", [Status.NOT_RUN, Status.FAILED])
def test_a_task_killed_between_any_two_files_leaves_no_status_without_its_values(
    store: Store, monkeypatch: pytest.MonkeyPatch, before: Status
) -> None:
    some = np.zeros(store.chunks, dtype=bool)
    some.flat[0] = True
    write_chunk = ChunkFiles.write_chunk
    for survived in range(7):
        store.delete_chunk((0, 0, 0))
        store.merge_chunk((0, 0, 0), some, fill(store, 1.0, Status.OK), 0)
        if before != Status.NOT_RUN:
            store.merge_chunk((0, 0, 0), ~some, fill(store, np.nan, before), 0)
        written: list[str] = []

        def write(
            files: ChunkFiles, name: str, place: Any, data: bytes, written: list[str] = written, last: int = survived
        ) -> None:
            if len(written) == last:
                raise Killed
            written.append(name)
            write_chunk(files, name, place, data)

        with monkeypatch.context() as patch:
            patch.setattr(ChunkFiles, "write_chunk", write)
            with contextlib.suppress(Killed):
                store.merge_chunk((0, 0, 0), ~some, fill(store, 2.0, Status.OK), 1)
        assert len(written) <= survived
        chunk = store.read_chunk((0, 0, 0))
        known = chunk["status"] == Status.OK
        assert known.flat[0]
        np.testing.assert_array_equal(chunk["height"][known, 0, 0], np.where(some, 1.0, 2.0)[known])
    assert known.all(), "all files were written in the end"


def test_every_coordinate_is_one_file_that_must_exist(toy: MakeExperiment, results: Path) -> None:
    stage = Stage(toy(axes={"slope": [0], "size": {"start": 1, "stop": 3000, "count": 3000}}), "simulation")
    results.mkdir()
    store = create_store(results / "simulation.zarr", stage, choose_chunks(stage))
    assert set(store.coordinates) == {"time", "slope", "size", "replica", "feature"}
    files = store.files.metadata.files
    assert list(files) == sorted(f"{name}/c/0" for name in store.coordinates), "also where all values are 0"


@pytest.mark.parametrize("keep", ["replicas", "moments"])
def test_a_store_of_one_dim_can_have_many_chunks(toy: MakeExperiment, results: Path, keep: str) -> None:
    stage = Stage(toy(axes={}, constants={"work": 1.0}, replicas=2048, keep=keep), "simulation")
    results.mkdir()
    made = create_store(results / "simulation.zarr", stage, choose_chunks(stage))
    assert len(made.shape) == 1
    assert made.chunks < made.shape
    assert Store(results / "simulation.zarr").experiment.replicas == 2048


def test_the_store_of_every_experiment_of_ours_can_be_made_and_opened(tmp_path: Path) -> None:
    files = sorted(Path("config/experiments").glob("*.yaml"))
    assert len(files) > 20
    for file in files:
        experiment = read_experiment(file, check=False)  # another test checks them
        for kind in ("simulation", "theory"):
            stage = Stage(experiment, kind)
            if stage.outputs.variables:
                path = tmp_path / experiment.name / f"{kind}.zarr"
                path.parent.mkdir(exist_ok=True)
                create_store(path, stage, choose_chunks(stage))
                assert Store(path).experiment.resolved() == experiment.resolved()


def test_a_file_that_cannot_be_opened_just_now_is_not_taken_for_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.merge_chunk((0, 0, 0), np.ones(store.chunks, dtype=bool), fill(store, 1.0, Status.OK), 0)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(ChunkFiles, "read_chunk", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            repair_store(store.path, ToySystem())
    assert (Store(store.path).read_chunk((0, 0, 0))["status"] == Status.OK).all()


def test_a_store_that_is_moved_aside_while_it_is_read_says_so(store: Store) -> None:
    store.path.rename(store.path.with_name("simulation-until-now.zarr"))
    with pytest.raises(ClhdError, match="was replaced or moved while it was open"):
        store.read("height")


def test_damaged_attributes_never_get_a_new_checksum(store: Store) -> None:
    file = store.path / "zarr.json"
    document = json.loads(file.read_bytes())
    document["attributes"]["experiment"] = document["attributes"]["experiment"].replace('"seed": 3', '"seed": 4')
    write_document(file, document)
    with pytest.raises(MetadataError, match="was changed or damaged after clhd wrote it"):
        store.update_attributes(runs=[])
    assert json.loads(file.read_bytes()) == document


def change_runs(store: Store) -> None:
    store.update_attributes(runs=[{"started": "now", "code": "1", "seconds": 1, "words": {2: (1.5, None)}}])


def damage_and_repair(store: Store) -> None:
    """What can be lost at once of a store without losing what was computed."""
    for name in ("time", "height", "status"):
        (store.path / name / "zarr.json").write_text("")
    shutil.rmtree(store.path / "slope")
    shutil.rmtree(store.path / "feature" / "c")
    repair_store(store.path, ToySystem())


@pytest.mark.parametrize("change", [change_runs, damage_and_repair])
def test_a_change_of_metadata_killed_at_any_moment_leaves_a_store_that_is_whole_or_can_be_repaired(
    toy: MakeExperiment, results: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Store], None]
) -> None:
    stage = Stage(toy(), "simulation")
    results.mkdir()
    survived, is_done = 0, False
    while not is_done:
        store = create_store(results / f"simulation-{survived}.zarr", stage, choose_chunks(stage))
        before = [file.read_bytes() for file in sorted(store.path.rglob("c/0"))]
        with killed_at(monkeypatch, "replace", survived), contextlib.suppress(Killed):
            change(store)
            is_done = True
        repair_store(store.path, ToySystem())
        Store(store.path)
        assert [file.read_bytes() for file in sorted(store.path.rglob("c/0"))] == before
        survived += 1
    assert survived > 1


def test_a_store_that_cannot_be_restored_is_left_as_it_is(store: Store) -> None:
    group = json.loads((store.path / "zarr.json").read_bytes())
    group["consolidated_metadata"]["metadata"]["height"]["shape"] = [1]
    write_document(store.path / "zarr.json", group)
    (store.path / "height" / "zarr.json").unlink()
    (store.path / "status" / "zarr.json").unlink()
    with pytest.raises(ClhdError, match=r"simulation\.zarr/zarr\.json: was changed or damaged .* --fresh"):
        repair_store(store.path, ToySystem())
    assert not (store.path / "status" / "zarr.json").exists()


def remove_checksum(path: Path) -> dict[str, Any]:
    """Make a store as an older clhd wrote it, without a checksum of its metadata."""
    group: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())
    del group["attributes"]["metadata_checksum"]
    write_document(path / "zarr.json", group)
    return group


def test_a_store_of_an_older_clhd_is_upgraded_with_its_results(store: Store) -> None:
    store.merge_chunk((0, 0, 0), np.ones(store.chunks, dtype=bool), fill(store, 1.0, Status.OK), 0)
    before = check_metadata(store.path)
    remove_checksum(store.path)
    (store.path / "slope" / "c" / "0").unlink()  # as that of a coordinate of zeros might be
    with pytest.raises(
        ClhdError, match=r"zarr\.json: was written by an older clhd; `clhd run FILE --repair` upgrades it"
    ):
        Store(store.path)
    repair_store(store.path, ToySystem())
    assert check_metadata(store.path) == before
    assert (Store(store.path).read_chunk((0, 0, 0))["height"] == 1).all()


def test_a_store_opens_silently_in_xarray(store: Store) -> None:
    with warnings.catch_warnings(record=True) as caught, xr.open_zarr(str(store.path)) as dataset:
        assert "height" in dataset
    assert not caught


def test_a_store_with_the_earlier_form_of_the_checksum_is_used_and_gets_the_present_form(store: Store) -> None:
    group = json.loads((store.path / "zarr.json").read_bytes())
    arrays = group["consolidated_metadata"]["metadata"]
    digests = {
        name: blake2b(json.dumps(a, sort_keys=True).encode(), digest_size=8).hexdigest() for name, a in arrays.items()
    }
    checksum = json.loads(group["attributes"].pop("metadata_checksum"))
    content = json.dumps([group["attributes"], digests, checksum["files"]], sort_keys=True).encode()
    seal = {"arrays": digests, "files": checksum["files"], "digest": blake2b(content, digest_size=8).hexdigest()}
    group["attributes"]["seal"] = seal
    write_document(store.path / "zarr.json", group)
    Store(store.path).update_attributes(title="other")
    attributes = Store(store.path).attributes
    assert attributes["title"] == "other"
    assert list(Store(store.path).files.metadata.files) == checksum["files"]
    assert "seal" not in attributes
    group["attributes"]["seal"] = seal | {"digest": "0" * 16}
    write_document(store.path / "zarr.json", group)
    with pytest.raises(MetadataError, match="was changed or damaged after clhd wrote it"):
        Store(store.path)


def contradict(group: dict[str, Any]) -> None:
    group["consolidated_metadata"]["metadata"]["height"]["data_type"] = "float32"


def lose(group: dict[str, Any]) -> None:
    del group["consolidated_metadata"]["metadata"]["height"]


def lose_axis(group: dict[str, Any]) -> None:
    experiment = json.loads(group["attributes"]["experiment"])
    experiment["axes"]["slope"].pop()
    group["attributes"]["experiment"] = json.dumps(experiment)


def lose_dims(group: dict[str, Any]) -> None:
    group["attributes"]["dims"] = json.dumps(json.loads(group["attributes"]["dims"])[:-1])


def count_blocks(group: dict[str, Any]) -> None:
    group["attributes"]["replicas_per_entry"] = 256


def lose_runs(group: dict[str, Any]) -> None:
    group["attributes"]["runs"] = [{}]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (contradict, r"height/zarr\.json: data_type = 'float64', not 'float32'"),
        (lose, r"zarr\.json: has other variables than its experiment: feature, height"),
        (lose_axis, r"/zarr\.json: its shape, dims or chunks contradict its experiment"),
        (lose_dims, r"zarr\.json: dims = slope, size, not slope, size, replica"),
        (count_blocks, r"zarr\.json: replicas_per_entry = 256, not 1"),
        (lose_runs, r"zarr\.json: runs\.0\.started: Field required"),
    ],
)
def test_a_store_of_an_older_clhd_that_contradicts_itself_is_refused(
    store: Store, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    group = remove_checksum(store.path)
    damage(group)
    write_document(store.path / "zarr.json", group)
    with pytest.raises(ClhdError, match=f"{message}.*--fresh"):
        repair_store(store.path, ToySystem())
    assert json.loads((store.path / "zarr.json").read_bytes()) == group


def test_a_coordinate_of_an_older_clhd_that_has_other_values_stays_as_it_is(store: Store) -> None:
    slopes = store.read("slope")
    slopes[0] = 5.0
    overwrite(store, "slope", slopes)
    remove_checksum(store.path)
    with pytest.raises(ClhdError, match=r"slope: its values contradict the experiment; .*--fresh"):
        repair_store(store.path, ToySystem())


def test_what_is_read_without_zarr_is_what_zarr_reads(store: Store) -> None:
    random = np.random.default_rng(0)
    for index in list(store.chunk_indices())[::2]:  # the others hold fill values
        chunk = store.make_chunk(index)
        chunk["height"][...] = random.normal(size=chunk["height"].shape)
        chunk["error_message"][...] = [f"{index} ✓", ""] if chunk["error_message"].shape[-1] == 2 else f"{index} ✓"
        chunk["status"][...] = Status.OK
        store.write_chunk(index, chunk)
    group = zarr.open_group(BoundStore(store.files), mode="r", zarr_format=3, use_consolidated=True)
    for name in store.files.metadata.arrays:
        array: Any = group[name]
        assert np.array_equal(store.read(name), array[...], equal_nan=array.dtype.kind == "f"), name
        assert store.read(name).dtype == array.dtype
    height: Any = group["height"]
    for region in (
        (slice(1, 2),),
        (slice(0, 2), slice(1, 3)),
        (slice(None), slice(0, 1), slice(1, None)),
        (slice(2, 2),),
    ):
        assert np.array_equal(store.read("height", region), height[region], equal_nan=True), region
