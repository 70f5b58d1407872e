"""All sockets of a run on this machine listen on loopback only: all processes, IPv4 and IPv6, from start to end."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As the kernel writes them.
LISTENING = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}

# Work of minutes is done by forked children, which listen nowhere; work that seems to be more by workers of Dask.
FLEETING, LONG = 0.01, 30.0
EXPERIMENT = """\
system: flaky
constants: {{work: {seconds}}}
axes: {{slope: [0, 1, 2], size: [4, 16]}}
times: [0, 1]
replicas: 4
seed: 1
figure: none
"""
# What a user may have configured for a cluster elsewhere; here it must neither open a socket nor be in the way.
CONFIGURED = {
    "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls",
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "/nowhere/ca.pem",
    "DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__CERT": "/nowhere/certificate.pem",
    "DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT": "/nowhere/certificate.pem",
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "/nowhere/certificate.pem",
    "DASK_DISTRIBUTED__SCHEDULER__CONTACT_ADDRESS": "tcp://192.0.2.1:8786",
    "DASK_SCHEDULER_ADDRESS": "tcp://192.0.2.1:8786",
}

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the sockets from Linux' /proc")


def find_processes(token: str) -> dict[int, str]:
    """Command lines of the processes whose environment holds the token: all descendants, also orphans."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if token.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # has ended
                continue
    return found


def find_listening(pids: list[int]) -> set[str]:
    """Addresses on which the processes listen."""
    inodes = set()
    for pid in pids:
        try:
            targets = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        inodes |= {target[8:-1] for target in targets if target.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and columns[9] in inodes:
                found.add(columns[1].rsplit(":", 1)[0])
    return found


@pytest.mark.parametrize(
    ("command", "seconds", "settings"),
    [
        (["-m", "clhd", "simulate", "toy.yaml", "--workers", "2"], LONG, CONFIGURED),
        (["-m", "clhd", "simulate", "toy.yaml", "--workers", "2"], FLEETING, CONFIGURED),
        (
            ["-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2", "results/toy/.simulation.done"],
            LONG,
            {},
        ),
    ],
    ids=["processes", "children", "snakemake"],
)
def test_all_that_listens_during_a_run_listens_on_loopback(
    tmp_path: Path, command: list[str], seconds: float, settings: dict[str, str]
) -> None:
    (tmp_path / "toy.yaml").write_text(EXPERIMENT.format(seconds=seconds), encoding="utf-8")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("experiments: [toy.yaml]\n", encoding="utf-8")
    token = f"CLHD_TEST={uuid.uuid4()}"
    paths = os.pathsep.join([str(ROOT / "tests" / "workflow"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "CLHD_TEST": token.partition("=")[2], **settings}
    addresses: set[str] = set()
    processes: dict[int, str] = {}
    held, reached = tmp_path / "held", tmp_path / "reached"
    held.touch()  # until all that listens while points are computed has been seen
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, *command], cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while run.poll() is None:
                is_computing = reached.exists()
                here = find_processes(token)
                processes |= {pid: line for pid, line in here.items() if line}  # of one that is ending nothing is left
                addresses |= find_listening(list(here))
                if is_computing:
                    held.unlink(missing_ok=True)
                time.sleep(0.1)
        finally:
            run.kill()
            run.wait()
    assert run.returncode == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "results" / "toy" / "simulation.zarr").exists()
    assert addresses <= LOOPBACK
    assert bool(addresses) == (seconds == LONG), "processes of Dask listen, children do not"
    workers = [line for line in processes.values() if "multiprocessing.spawn" in line]
    assert len(workers) >= 2 if seconds == LONG else not workers
    assert seconds != LONG or any("resource_tracker" in line for line in processes.values())
