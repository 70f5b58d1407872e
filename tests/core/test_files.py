"""Files are written whole or not at all, never through a link, and without a trace of killed writers."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clhd.core.files import (
    check_folders,
    make_folder,
    open_fixed,
    replace_file,
    sync_tree,
    write_file,
    write_new_files,
)
from clhd.errors import ClhdError, FileError


def list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_replaced_with_its_text_and_the_mode_of_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    before = os.umask(0o027)
    try:
        write_file(path, "häh")
    finally:
        os.umask(before)
    assert path.read_bytes() == "häh".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list_names(tmp_path) == ["page.html"]


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    target = tmp_path / "thesis.txt"
    target.write_text("mine")
    for path in (tmp_path / "page.html", tmp_path / "broken.html"):
        path.symlink_to(target if path.stem == "page" else tmp_path / "nowhere")
        write_file(path, "new")
        assert path.read_text() == "new"
        assert not path.is_symlink()
    assert target.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_of_new_files_all_are_written_or_none(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    texts = {tmp_path / "study" / "config" / "list.yaml": "a", tmp_path / "README.md": "b"}
    for wrong in (taken, taken / "page.html"):
        with pytest.raises(FileError):
            write_new_files({**texts, wrong: "c"})
        assert list_names(tmp_path) == ["taken"]
    write_new_files(texts)
    assert [path.read_text() for path in (*texts, taken)] == ["a", "b", "mine"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(TypeError), replace_file(path) as file:
        file.writelines([b"half", "text"])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert list_names(tmp_path) == ["page.html"]


KILLED = """
import os, signal, sys
from pathlib import Path
from clhd.core.files import replace_file
with replace_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_leaves_is_deleted_by_the_next_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "page[1].html"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    with replace_file(path) as file:
        assert not leftover.exists()
        write_file(path, "other")
        file.write(b"last")
    assert path.read_text() == "last"
    assert list_names(tmp_path) == [path.name]


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    pages = [str(number) * 100_000 for number in range(8)]
    writers = [threading.Thread(target=lambda page=page: [write_file(path, page) for _ in range(10)]) for page in pages]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in pages
    assert list_names(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
def test_a_fixed_name_is_opened_only_if_it_is_a_file(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / ".simulation.lock", tmp_path / "thesis.txt"
    target.write_text("mine")
    if "link" in kind:
        path.symlink_to(target if kind == "link" else tmp_path / "nowhere")
    else:
        (path.mkdir if kind == "folder" else lambda: os.mkfifo(path))()
    with pytest.raises(
        ClhdError, match=r"\.simulation\.lock: is (a link to .*|no file), and clhd writes a file of this"
    ):
        open_fixed(path)
    assert target.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_fixed_name_is_created_and_kept(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_fixed(tmp_path / "lock", create=False)
    for _ in range(2):
        descriptor = open_fixed(tmp_path / "lock")
        os.pwrite(descriptor, b"1", os.fstat(descriptor).st_size)
        os.close(descriptor)
    assert (tmp_path / "lock").read_bytes() == b"11"


def test_folders_for_files_are_no_links(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "figures").symlink_to("mine")
    with pytest.raises(ClhdError, match="figures: is a link to mine"):
        make_folder(tmp_path / "figures")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    check_folders(tmp_path, tmp_path / "a" / "b")
    with pytest.raises(ClhdError, match="figures: is a link to mine"):
        check_folders(tmp_path, tmp_path / "figures" / "c" / "0")
    check_folders(tmp_path / "figures", tmp_path / "figures" / "c")  # links above are the user's own


def test_syncing_asks_for_every_folder_and_every_file_that_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    files = [tmp_path / "1", tmp_path / "a" / "2", tmp_path / "a" / "b" / "3"]
    for file in files:
        file.write_text("x")
    os.link(files[2], tmp_path / "4")  # both names: shared with something else
    asked = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.add(os.fstat(descriptor).st_ino))
    sync_tree(tmp_path)
    wanted = [tmp_path, tmp_path / "a", tmp_path / "a" / "b", *files[:2]]
    assert asked == {path.stat().st_ino for path in wanted}
