"""Full, read-only and moved results, and damaged files: each is one line that names it, and one command repairs it."""

import itertools
import math
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clhd.sweep.run.run_stage
import clhd.sweep.run.tasks
import clhd.systems.registry
from clhd.cli import main
from clhd.sweep.store.store import Store
from tests.sweep.toy import LOG

TABLE = """\
system: toy
axes: {slope: [0, 1, 2, 7], size: [4, 16]}
times: [0, 1, 2]
replicas: 4
seed: 3
"""
PARTS = ("simulation", "theory")
PAGE = resource.getpagesize()
LANES = 4 * 2 * 4
MOMENTS = (
    "before the first file", "among the chunks", "where the end of a run is noted", "in the theory", "in the summary",
)  # fmt: skip


class Project:
    """A folder with an experiment, in which commands are run."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd
        (folder / "toy.yaml").write_text(TABLE)
        (folder / "config.yaml").write_text("experiments: [toy.yaml]")

    def run(self, command: str, results: Path | str = "results") -> tuple[int, str, list[str]]:
        """Exit code, output and the last line of errors of a command; never a traceback, also of Dask's."""
        verb, *places = command.split()
        file = "config.yaml" if verb in ("status", "report") else "toy.yaml"
        self._capfd.readouterr()
        code = main([verb, file, "--results", str(results), *places])
        output, error = self._capfd.readouterr()
        assert "Traceback" not in output + error
        return code, output, error.strip().splitlines()[-1:]

    def bits(self, results: Path | str = "results") -> dict[str, bytes]:
        return read_bits(self.folder / results)


def read_bits(results: Path) -> dict[str, bytes]:
    """What a run has computed."""
    found = {}
    for part in PARTS:
        store = Store(results / "toy" / f"{part}.zarr")
        found |= {f"{part} {name}": store.read(name).tobytes() for name in (*store.outputs, "status")}
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clhd.sweep.run.run_stage, "_THREADS_BELOW_SECONDS", np.inf)  # processes do not know the toy
    return Project(tmp_path, capfd)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "toy.yaml").write_text(TABLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
        patch.setattr(clhd.sweep.run.run_stage, "_THREADS_BELOW_SECONDS", np.inf)
        assert main(["run", str(folder / "toy.yaml"), "--results", str(folder / "results")]) == 0
    return folder / "results"


@pytest.fixture
def whole(undisturbed: Path) -> dict[str, bytes]:
    return read_bits(undisturbed)


class Disk:
    """A small disk of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.path], check=True, capture_output=True)

    def change(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    try:
        disk.mount("size=64k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a disk")
    yield disk
    subprocess.run(["umount", disk.path], check=True)


def count_pages(*paths: Path) -> int:
    """What files take on a tmpfs, in its pages."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sum(math.ceil(file.stat().st_size / PAGE) for file in files)


def find_room(results: Path, moment: str) -> int:
    """Pages that an undisturbed run has filled at a moment: the next file finds no available."""
    simulation, theory, summary = (results / "toy" / f"{name}.zarr" for name in (*PARTS, "summary"))
    documents = count_pages(*simulation.rglob("zarr.json"))
    chunks = count_pages(simulation) - documents
    hidden = {part: count_pages(*(results / "toy").glob(f".{part}.*")) for part in PARTS}
    computed = documents + hidden["simulation"] + chunks
    both = computed + count_pages(theory) + hidden["theory"]
    rooms = (
        0,
        documents + hidden["simulation"] + chunks // 2,
        computed + count_pages(simulation / "zarr.json") - 1,  # a copy of it
        computed + count_pages(theory) // 2,
        both + count_pages(summary) // 2,
    )
    return dict(zip(MOMENTS, rooms, strict=True))[moment]


def find_moment(results: Path) -> str:
    """Where a run was when it stopped."""
    stores = {part: Store(path) for part in PARTS if (path := results / "toy" / f"{part}.zarr").exists()}
    known = {part: int(np.count_nonzero(store.status())) for part, store in stores.items()}
    if "simulation" not in known:
        return MOMENTS[0]
    if known["simulation"] < LANES:
        return MOMENTS[1]
    if "seconds" not in stores["simulation"].attributes["runs"][0]:
        return MOMENTS[2]
    return MOMENTS[4] if known.get("theory") else MOMENTS[3]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_once_there_is_room(
    project: Project, undisturbed: Path, whole: dict[str, bytes], disk: Disk, moment: str
) -> None:
    disk.change(f"size={max(find_room(undisturbed, moment), 1) * PAGE}")  # 0 would be no limit
    code, _, error = project.run("run", disk.path)
    assert code == 2, "the available is too large"
    assert error[0].endswith("No space left on device; free some, then the same command goes on from there")
    assert find_moment(disk.path) == moment
    for command in ("status", "summarise", "why slope=1 size=4", "verify"):
        project.run(command, disk.path)
    disk.change("size=4m")
    code, _, error = project.run("run", disk.path)
    assert code == 0, error
    assert project.bits(disk.path) == whole
    assert not [path for path in disk.path.rglob("*") if path.name.endswith((".partial", ".new"))]


def test_results_that_are_read_only_are_refused_before_any_work_and_can_be_looked_at(
    project: Project, disk: Disk
) -> None:
    disk.change("size=4m")
    assert project.run("run", disk.path)[0] == 0
    disk.change("ro")
    LOG.calls = 0
    (project.folder / "toy.yaml").write_text(TABLE.replace("replicas: 4", "replicas: 5"))
    for command in ("run", "summarise", "plot"):
        code, _, error = project.run(command, disk.path)
        assert code == 2
        assert re.match(rf"{disk.path}/toy.*: cannot be written.*Read-only file system", error[0])
    assert LOG.calls == 0
    (project.folder / "toy.yaml").write_text(TABLE)
    for command in ("status", "why slope=1 size=4", "verify"):
        assert project.run(command, disk.path)[0] == 0


@pytest.mark.parametrize(
    ("place", "commands"),
    [("results", ("run", "summarise", "status", "report")), ("results/toy", ("run", "summarise"))],
)
def test_results_may_be_a_link_to_another_disk_unless_it_is_not_mounted(
    project: Project, whole: dict[str, bytes], disk: Disk, place: str, commands: tuple[str, ...]
) -> None:
    disk.change("size=4m")
    Path(place).parent.mkdir(exist_ok=True)
    Path(place).symlink_to(disk.path / "far")
    for command in commands:
        code, _, error = project.run(command)
        assert code == 2
        assert error[0].startswith(f"{place}: is a link to {disk.path}/far, which does not exist; ")
    (disk.path / "far").mkdir()
    assert project.run("run")[0] == 0
    (project.folder / "toy.yaml").write_text(TABLE.replace("replicas: 4", "replicas: 5"))
    assert "40 ok; 8 computed now" in project.run("run")[1]
    (project.folder / "toy.yaml").write_text(TABLE)
    flip(find_chunk("simulation.zarr/height"))
    assert project.run("run --repair")[0] == 0
    assert project.run("run --fresh")[0] == 0
    assert project.bits() == whole
    assert Path(place).is_symlink()


@pytest.mark.parametrize(
    ("where", "name", "at"),
    [(clhd.sweep.run.tasks, "compute_block", 0), (Store, "merge_chunk", 5), (Store, "update_attributes", 1)],
    ids=["before a block", "while a chunk is written", "at the end"],
)
def test_results_that_are_moved_in_the_middle_of_a_run_stay_moved_and_the_run_goes_on_there(
    project: Project, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, where: Any, name: str, at: int
) -> None:
    calls, real = itertools.count(), getattr(where, name)

    def move(*arguments: Any, **options: Any) -> Any:
        if next(calls) == at:
            Path("results").rename("elsewhere")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, move)
        code, _, error = project.run("run")
    assert code == 2
    assert "was moved or deleted while it was written" in error[0]
    assert not Path("results").exists()
    assert project.run("run", "elsewhere")[0] == 0
    assert project.bits("elsewhere") == whole


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def find_chunk(variable: str) -> Path:
    """The last chunk of a variable of the results: that of slope 7 and size 16, or of the whole theory."""
    return max(path for path in Path("results/toy", variable, "c").rglob("*") if path.is_file())


WHY, VERIFY, REPLAY = "why slope=7 size=16", "verify --fraction 1", "replay slope=7 size=16"


@pytest.mark.parametrize(
    ("variable", "damage", "commands"),
    [
        ("simulation.zarr/height", flip, {"run", "summarise", VERIFY, REPLAY}),
        ("simulation.zarr/height", Path.unlink, {"summarise", VERIFY, REPLAY}),
        ("simulation.zarr/status", truncate, {"run", "summarise", VERIFY, REPLAY, WHY}),
        ("simulation.zarr/attempts", zero, {WHY}),
        ("simulation.zarr/run", Path.unlink, {WHY}),
        ("theory.zarr/height", truncate, {"run", "summarise"}),
        ("theory.zarr/error_message", zero, set()),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_damaged_file_is_named_by_each_command_that_reads_it_and_repaired_by_one(
    project: Project,
    undisturbed: Path,
    whole: dict[str, bytes],
    variable: str,
    damage: Callable[[Path], None],
    commands: set[str],
) -> None:
    shutil.copytree(undisturbed, "results")
    chunk = find_chunk(variable)
    damage(chunk)
    is_seen = damage is Path.unlink or variable.endswith("/status")  # it opens no file but those
    assert (str(chunk) in str(project.run("status")[1])) == is_seen
    for command in ("status", "summarise", WHY, VERIFY, REPLAY, "run"):
        code, _, error = project.run(command)
        if command in commands:
            assert code == 2
            assert error[0].startswith(f"{chunk}: ")
            remedy = "`clhd run FILE`" if damage is Path.unlink else "`clhd run FILE --repair`"
            assert error[0].endswith(f"; {remedy} recomputes it")
        else:
            assert code == 0
    code, _, error = project.run("run --repair")
    assert code == 0, error
    assert project.bits() == whole
    assert "0 computed now" in project.run("run --repair")[1]


@pytest.mark.parametrize(("name", "damage"), [("slope", zero), ("time", Path.unlink)])
def test_a_damaged_coordinate_costs_nothing_that_was_computed(
    project: Project, undisturbed: Path, whole: dict[str, bytes], name: str, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(undisturbed, "results")
    damage(find_chunk(f"simulation.zarr/{name}"))
    code, _, error = project.run("run")
    assert code == 2
    assert re.fullmatch(
        rf"results/toy/simulation.zarr/{name}/c/0: is (damaged, or another file .*|missing); `clhd run .*` restores it",
        error[0],
    )
    code, output, error = project.run("run --repair")
    assert code == 0, error
    assert "32 ok; 0 computed now" in output
    assert project.bits() == whole
    assert project.run("run")[0] == 0


@pytest.mark.parametrize("name", ["status", "height", "seconds"])
def test_a_chunk_of_which_a_file_is_lost_is_computed_again(
    project: Project, undisturbed: Path, whole: dict[str, bytes], name: str
) -> None:
    shutil.copytree(undisturbed, "results")
    chunk = find_chunk(f"simulation.zarr/{name}")
    chunk.unlink()
    code, output, _ = project.run("run")
    assert code == 0
    assert "32 ok; 4 computed now" in output
    assert project.bits() == whole
