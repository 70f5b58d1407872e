"""An archive holds everything that another machine needs, and a change of any file in it is noticed."""

import errno
import json
import os
from pathlib import Path
from zipfile import ZipFile

import pytest

from clhd.cli import main
from clhd.errors import ClhdError, explain_file_error
from clhd.publish.archive import unpack_archive, write_archive
from clhd.sweep.spec.config import ConfigContent


@pytest.fixture
def archive(project: ConfigContent, tmp_path: Path) -> Path:
    path = tmp_path / "hills.zip"
    write_archive(project, Path("list.yaml"), project.results, path)
    return path


def rewrite(path: Path, name: str, content: bytes) -> Path:
    """A copy of an archive in which one file has another content."""
    copy = path.with_name("changed.zip")
    with ZipFile(path) as old, ZipFile(copy, "w") as new:
        for item in old.namelist():
            if item != name:
                new.writestr(item, old.read(item))
        new.writestr(name, content)
    return copy


def test_an_archive_verifies_in_another_folder(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", archive.name, "--fraction", "1"]) == 0
    printed = capsys.readouterr().out
    assert "every file is as it was written" in printed
    assert "hills: 6 points computed again: 24 runs with the same bits, 0 points with others" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]


def test_a_changed_byte_is_found(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "results/hills/simulation.zarr/height/zarr.json"
    changed = rewrite(archive, name, ZipFile(archive).read(name) + b" ")
    assert main(["verify", str(changed)]) == 2
    assert capsys.readouterr().err == f"{changed}: {name} is not what `clhd archive` wrote\n"


@pytest.mark.parametrize("name", ["../escape", "/escape", "results/../../escape", "a\\b"])
def test_no_file_leaves_the_folder(archive: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ClhdError, match="no path of an archive"):
        unpack_archive(rewrite(archive, name, b""), tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_file_that_the_manifest_does_not_know_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ClhdError, match=r"more\.txt is not what"):
        unpack_archive(rewrite(archive, "more.txt", b"more"), tmp_path / "here")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_another_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.zip"
    path.write_bytes(content)
    assert main(["verify", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"{path}: is not an archive of `clhd archive`, or damaged: ")


def test_the_crate_names_only_what_is_there(archive: Path) -> None:
    """What RO-Crate 1.1 demands: one descriptor, a root with its properties, and an entity for each part."""
    with ZipFile(archive) as file:
        crate = json.loads(file.read("ro-crate-metadata.json"))
        names = file.namelist()
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = entities["./"]
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license"} <= set(root)
    for part in root["hasPart"]:
        assert part["@id"] in entities
        assert any(name == part["@id"] or name.startswith(part["@id"]) for name in names), part
    assert {"list.yaml", "hills.yaml", "results/hills/", "installed.txt"} <= {part["@id"] for part in root["hasPart"]}


def test_nothing_outside_of_the_folder_is_archived(
    project: ConfigContent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = project.results.absolute()
    monkeypatch.chdir(tmp_path)
    for path in (results, Path(os.path.relpath(results))):
        with pytest.raises(ClhdError, match="lies outside of this folder"):
            write_archive(project, Path("list.yaml"), path, tmp_path / "hills.zip")
    assert not (tmp_path / "hills.zip").exists()


def test_read_only_results_are_archived_unless_a_run_elsewhere_writes_them_meanwhile(
    project: ConfigContent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = project.results / "hills" / "simulation.zarr" / "status" / "zarr.json"

    def refuse(store: Path) -> None:
        if store.name == "summary.zarr" and is_written:  # the other stores have been looked at
            os.utime(status, ns=(0, 0))
        raise explain_file_error(store.parent, OSError(errno.EROFS, "Read-only file system"))

    monkeypatch.setattr("clhd.publish.archive.hold_lock", refuse)
    is_written = False
    path = tmp_path / "hills.zip"
    assert write_archive(project, Path("list.yaml"), project.results, path) > 0
    assert unpack_archive(path, tmp_path / "here")["results"] == "results"
    is_written = True
    with pytest.raises(ClhdError, match=r"simulation\.zarr: was written while it was archived"):
        write_archive(project, Path("list.yaml"), project.results, tmp_path / "second.zip")
    assert not (tmp_path / "second.zip").exists()
