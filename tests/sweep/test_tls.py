"""A process without the cluster's certificate is refused, and nothing goes unencrypted to another machine."""

import asyncio
import json
import os
import shlex
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from urllib.parse import urlsplit

import dask
import numpy as np
import pytest
import xarray as xr
import yaml
from distributed import Client, LocalCluster, Security, Worker

from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.cluster import tls
from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.cluster.tls import find_default_folder, load_security, make_certificates
from clhd.sweep.run.run_stage import run_stage
from tests.sweep.conftest import MakeExperiment

FILE = """\
system: toy
axes: {slope: [0, 1], size: [4, 16]}
times: [0, 1]
replicas: 4
seed: 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls") / "other")


@pytest.fixture(scope="module")
def scheduler(folder: Path) -> Iterator[LocalCluster]:
    """A scheduler with a worker, in this process, that demands certificates of `folder`."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tls://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        security=load_security(folder),
    ) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def no_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


def mixed(authority: Path, certificate: Path) -> Security:
    """Accept the certificate of one folder, and show the certificate of another."""
    own = load_security(certificate)
    own.tls_ca_file = load_security(authority).tls_ca_file
    return own


def strangers(folder: Path, other: Path) -> dict[str, Security]:
    return {"other": load_security(other), "mixed": mixed(folder, other)}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604], ids=oct)
@pytest.mark.parametrize("named", ["by an option", "by Dask's settings"])
def test_a_key_that_others_may_read_is_refused_with_the_command_that_helps(
    tmp_path: Path, mode: int, named: str
) -> None:
    own = make_certificates(tmp_path / "o'wn")
    key = own / "key.pem"
    parts = {"cert": str(own / "certificate.pem"), "key": str(key)}
    settings = {f"distributed.comm.tls.client.{part}": path for part, path in parts.items()}
    tls, config = (own, {}) if named == "by an option" else (None, settings)
    with dask.config.set(config):
        Cluster(scheduler="tls://127.0.0.1:1", tls=tls)
        key.chmod(mode)
        with pytest.raises(ClhdError) as caught:
            Cluster(scheduler="tls://127.0.0.1:1", tls=tls)
    assert str(caught.value) == (
        f"{key}: others may read or change this key (mode 0{mode:o}), and with it run programs as you; "
        f"`chmod 600 {shlex.quote(str(key))}`, or make another certificate if someone may have read it"
    )


@pytest.mark.parametrize("who", ["other", "mixed"])
def test_a_client_with_another_certificate_is_refused(
    folder: Path, other: Path, scheduler: LocalCluster, who: str
) -> None:
    with pytest.raises(OSError, match=r"(?i)tls"):
        Client(scheduler.scheduler_address, security=strangers(folder, other)[who], timeout=1)


@pytest.mark.parametrize("who", ["other", "mixed"])
def test_a_worker_with_another_certificate_is_refused(
    folder: Path, other: Path, scheduler: LocalCluster, who: str
) -> None:
    async def join() -> None:
        security = strangers(folder, other)[who]
        await Worker(
            scheduler.scheduler_address, security=security, protocol="tls://", host="127.0.0.1", death_timeout=1
        )

    before = set(scheduler.scheduler.workers)
    with pytest.raises((OSError, RuntimeError)):
        asyncio.run(join())
    assert set(scheduler.scheduler.workers) == before


def show_nothing(address: str) -> None:
    """Connect without a certificate, believing anything; nothing but a refusal comes back."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    place = urlsplit(address)
    with (
        socket.create_connection((place.hostname, place.port), timeout=10) as plain,
        context.wrap_socket(plain) as encrypted,
        pytest.raises(ssl.SSLError, match="certificate required"),
    ):
        encrypted.recv(1)


def test_who_shows_no_certificate_is_refused_by_scheduler_and_worker(scheduler: LocalCluster) -> None:
    """A client of Dask without one does not even try."""
    for address in (scheduler.scheduler_address, *scheduler.scheduler.workers):
        show_nothing(address)


def test_another_user_of_this_machine_cannot_join_in() -> None:
    with open_client(Cluster(workers=1)) as client:
        workers = client.scheduler_info()["workers"]
        for address in (client.scheduler.address, *workers, *(worker["nanny"] for worker in workers.values())):
            show_nothing(address)
        assert client.submit(sum, [1, 2]).result() == 3


def test_who_speaks_without_encryption_is_refused(scheduler: LocalCluster) -> None:
    with pytest.raises(OSError, match=r"reset|closed|Timed out"):
        Client(scheduler.scheduler_address.replace("tls://", "tcp://"), security=Security(), timeout=1)


def test_with_the_certificate_all_works_and_the_bits_are_the_same(
    toy: MakeExperiment, folder: Path, scheduler: LocalCluster, client: Client, tmp_path: Path
) -> None:
    experiment = toy()
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": scheduler.scheduler_address}))
    run_stage(experiment, "simulation", tmp_path / "here", client=client)
    clusters = {
        "address": Cluster(scheduler=scheduler.scheduler_address, tls=folder),
        "file": Cluster(scheduler_file=file, tls=folder),
    }
    here = xr.open_zarr(tmp_path / "here" / "toy" / "simulation.zarr")
    for name, cluster in clusters.items():
        report = run_stage(experiment, "simulation", tmp_path / name, cluster=cluster)
        assert report is not None
        assert report.is_complete
        there = xr.open_zarr(tmp_path / name / "toy" / "simulation.zarr")
        assert np.isfinite(there["height"].values).all()
        assert there["height"].values.tobytes() == here["height"].values.tobytes()


def test_the_certificates_in_the_users_own_folder_need_not_be_named(scheduler: LocalCluster, folder: Path) -> None:
    find_default_folder().parent.mkdir(parents=True)
    find_default_folder().symlink_to(folder)
    with open_client(Cluster(scheduler=scheduler.scheduler_address)) as client:
        assert client.submit(sum, [1, 2]).result() == 3


def test_a_scheduler_of_another_folder_and_one_that_is_not_there_are_one_line(
    scheduler: LocalCluster, folder: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(
            ClhdError,
            match=r"tls://127\.0\.0\.1:\d+: has another certificate; start it, and clhd, with the same folder",
        ),
        open_client(Cluster(scheduler=scheduler.scheduler_address, tls=other)),
    ):
        pass
    monkeypatch.setattr("clhd.sweep.cluster.cluster.CONNECT_SECONDS", 0.5)
    for address in ("tls://127.0.0.1:1", "tls://nobody.invalid:8786"):
        with (
            pytest.raises(ClhdError, match=rf"^scheduler {address}: cannot be reached: "),
            open_client(Cluster(scheduler=address, tls=folder)),
        ):
            pass


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("tcp://192.0.2.1:8786", "scheduler tcp://192.0.2.1:8786: must begin with tls:// unless it is on 127.0.0.1"),
        ("192.0.2.1:8786", "scheduler 192.0.2.1:8786: must begin with tls://"),
        ("tcp://[2001:db8::1]:8786", "must begin with tls://"),
        ("tcp://login.cluster:8786", "must begin with tls://"),
        ("tcp://localhost.cluster:8786", "must begin with tls://"),
        ("tcp://127.0.0.1.cluster:8786", "must begin with tls://"),
        ("tcp://127.0.0.1@192.0.2.1:8786", "must begin with tls://"),
        ("tcp://0.0.0.0:8786", "must begin with tls://"),
        ("tcp://127.0.0.1#.elsewhere.example:8786", "must begin with tls://"),
        ("tcp://127.0.0.1/.elsewhere.example:8786", "must begin with tls://"),
        ("tcp://127.0.0.1?.elsewhere.example:8786", "must begin with tls://"),
        ("ws://192.0.2.1:8786", "must begin with tls://"),
        ("nonsense", "must begin with tls://"),
        ("tls://192.0.2.1:8786", "needs certificates; name their folder with --tls DIR"),
    ],
)
@pytest.mark.parametrize("by_file", [False, True], ids=["address", "file"])
def test_a_scheduler_elsewhere_without_tls_is_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scheduler: str,
    message: str,
    by_file: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(FILE)
    Path("scheduler.json").write_text(json.dumps({"address": scheduler}))
    place = ["--scheduler-file", "scheduler.json"] if by_file else ["--scheduler", scheduler]
    assert main(["run", "toy.yaml", *place]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "clhd certificates" in error or "--tls" in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"toy.yaml", "scheduler.json"}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:1"])
def test_on_loopback_no_certificates_are_needed(address: str) -> None:
    assert Cluster(scheduler=address).find_security() is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "names no scheduler; `dask scheduler --scheduler-file` writes such files"),
        ("[]", "names no scheduler; `dask scheduler --scheduler-file` writes such files"),
        ('{"id": "Scheduler"}', "names no scheduler; `dask scheduler --scheduler-file` writes such files"),
    ],
)
def test_a_scheduler_file_that_is_none_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "scheduler.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ClhdError) as caught:
        Cluster(scheduler_file=file)
    assert str(caught.value) == f"{file}: {message}"


def test_certificates_are_for_a_scheduler_elsewhere(folder: Path) -> None:
    with pytest.raises(ClhdError, match=r"--tls .*: works only with --scheduler, --scheduler-file or --slurm"):
        Cluster(tls=folder)
    with pytest.raises(ClhdError, match="must begin with tls:// to be used with --tls"):
        Cluster(scheduler="tcp://127.0.0.1:8786", tls=folder)


def test_the_files_of_the_command_are_the_users_alone_and_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = os.umask(0)
    try:
        assert main(["certificates"]) == 0
    finally:
        os.umask(mask)
    told = capsys.readouterr().out
    folder = find_default_folder()
    assert folder == tmp_path / "settings" / "clhd" / "tls"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == {"ca.pem", "certificate.pem", "key.pem", "dask.yaml"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert [path.name for path in folder.parent.iterdir()] == ["tls"]
    assert f"DASK_CONFIG={folder}/dask.yaml dask scheduler --scheduler-file scheduler.json" in told
    assert "--tls" not in told
    key = (folder / "key.pem").read_bytes()
    for place in ([], [str(folder)]):
        assert main(["certificates", *place]) == 2
        assert capsys.readouterr().err.startswith(f"{folder}: exists already and is not overwritten; ")
    assert (folder / "key.pem").read_bytes() == key
    (tmp_path / "file").touch()
    assert main(["certificates", str(tmp_path / "file" / "tls")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/file/tls: cannot be written: File exists\n"
    assert main(["certificates", str(tmp_path / "a b")]) == 0
    assert f"clhd run FILE --scheduler-file scheduler.json --tls '{tmp_path}/a b'" in capsys.readouterr().out


def test_the_settings_for_dask_are_those_of_the_certificates(folder: Path) -> None:
    settings = yaml.safe_load((folder / "dask.yaml").read_text())
    with dask.config.set(dask.config.merge(dask.config.config, settings)):
        read = Security()
        aside = [dask.config.get(f"distributed.worker.memory.{step}") for step in ("target", "spill")]
    assert aside == [False, False]
    expected = load_security(folder)
    assert read.require_encryption
    for role in ("scheduler", "worker", "client"):
        assert read.get_tls_config_for_role(role) == expected.get_tls_config_for_role(role)


def remove_key(folder: Path) -> None:
    (folder / "key.pem").unlink()


def empty_certificate(folder: Path) -> None:
    (folder / "certificate.pem").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            remove_key,
            r"key\.pem: cannot be read: No such file or directory; remove the folder, then `clhd certificates .*`",
        ),
        (
            empty_certificate,
            r"certificate\.pem: holds no certificate; remove the folder, then `clhd certificates .*` makes",
        ),
    ],
)
def test_certificates_that_are_damaged_are_one_line(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = make_certificates(tmp_path / "tls")
    damage(folder)
    with pytest.raises(ClhdError, match=message):
        Cluster(scheduler="tls://192.0.2.1:8786", tls=folder)


def test_certificates_that_have_expired_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class InAYear(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(days=days)

    folder = make_certificates(tmp_path / "tls")
    monkeypatch.setattr(tls, "datetime", InAYear)
    days = 364
    load_security(folder)
    days = 366
    end = datetime.now(UTC) + timedelta(days=365)
    message = rf"certificate\.pem: expired on {end:%Y-%m}-\d\d; remove the folder, then `clhd certificates .*` makes"
    with pytest.raises(ClhdError, match=message):
        load_security(folder)


def test_a_folder_without_certificates_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ClhdError, match=r"ca\.pem: cannot be read: No such file or directory; `clhd certificates .*` makes"
    ):
        load_security(tmp_path / "nowhere")
