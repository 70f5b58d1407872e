"""Several hosts: a sweep gives the bits of an undisturbed run, whatever happens to cables and machines.

The hosts are network namespaces that share the file system, of a scheduler, two workers and a driver; they talk by TLS.
About a minute, half of it waiting until a cut is noticed: `python -m pytest -m hosts tests/hosts`, as root.
"""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import xarray as xr

from clhd.sweep.cluster.tls import make_certificates
from tests.hosts.network import Network, has_namespaces, wait_until

# All tests together have less than twice this time where they run unseen: what hangs has to show where.
pytestmark = [pytest.mark.hosts, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WORKERS = ("alice", "bob")
# As short as Dask allows: after this time a connection that does not answer is given up.
NOTICE_SECONDS = 11
# After this time a test has failed; nothing is measured by it.
PATIENCE_SECONDS = 180
# 12 blocks of little more than half a second each: what is shorter shares one.
BLOCKS = 12
EXPERIMENT = f"""\
system: contrastive
constants: {{weight_decay: 0.6, initial_cosine_similarity: 0.5}}
axes:
  dimension: {[300 + 10 * k for k in range(BLOCKS)]}
  noise_correlation: [-0.5, 0, 0.5]
times: [0, 120, 240]
replicas: 256
seed: 1
"""


class Site:
    """A scheduler, two hosts of workers, and a host for the driver; each test has results of its own."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network, self.folder = network, folder
        self._certificates = make_certificates(folder / "tls")
        self._file = folder / "scheduler.json"
        self._environment = {
            "DASK_CONFIG": str(self._certificates / "dask.yaml"),
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{NOTICE_SECONDS}s",
            "PYTHONPATH": str(ROOT),
        }
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self.results = folder
        self.experiment = folder / "hosts.yaml"
        self.experiment.write_text(EXPERIMENT, encoding="utf-8")
        self._start("scheduler", [str(BIN / "dask"), "scheduler", "--dashboard-address", "127.0.0.1:8787"])
        wait_until(self._file.exists, PATIENCE_SECONDS, "the scheduler starts")

    def _start(self, host: str, command: list[str]) -> subprocess.Popen[bytes]:
        command = [*command, "--scheduler-file", str(self._file)]
        log = self._driver_log if host == "driver" else self.folder / f"{host}.log"
        return self.network.start(host, command, log, self._environment)

    def begin(self, results: Path) -> None:
        """Make all whole again: cables, frozen processes, workers that have ended."""
        self.results = results
        for host in self.network.addresses:
            self.network.heal(host)
            self.network.signal(host, signal.SIGCONT)
        started = [host for host in WORKERS if host not in self._workers or self._workers[host].poll() is not None]
        expected = {host: self.count_registrations(host) + (host in started) for host in WORKERS}
        for host in started:
            command = [str(BIN / "dask"), "worker", "--dashboard-address", "127.0.0.1:0"]
            self._workers[host] = self._start(host, [*command, "--nthreads", "1", "--nworkers", "1"])
        for host in started:
            wait_until(lambda: self.count_registrations(host) >= expected[host], PATIENCE_SECONDS, "workers are there")  # noqa: B023

    def count_registrations(self, host: str) -> int:
        """How often a worker of a host has come to the scheduler."""
        log = self.folder / f"{host}.log"
        return log.read_text(encoding="utf-8").count("Registered to:") if log.exists() else 0

    def drive(self) -> subprocess.Popen[bytes]:
        """Start `clhd simulate` on the driver's host."""
        command = [sys.executable, "-m", "clhd", "simulate", str(self.experiment), "--results", str(self.results)]
        return self._start("driver", [*command, "--tls", str(self._certificates)])

    def read_log(self) -> str:
        """What the driver has said in this test."""
        return self._driver_log.read_text(encoding="utf-8")

    @property
    def _driver_log(self) -> Path:
        return self.results.with_name("driver.log")

    @property
    def store(self) -> Path:
        return self.results / "hosts" / "simulation.zarr"

    def count_blocks(self) -> int:
        """Blocks that are known."""
        return sum(path.is_file() and not path.name.startswith(".") for path in self.store.glob("status/c/**/*"))

    def wait_for_blocks(self, count: int) -> None:
        wait_until(lambda: self.count_blocks() >= count, PATIENCE_SECONDS, f"{count} blocks are done")

    def wait_for_end(self, process: subprocess.Popen[bytes]) -> int:
        wait_until(lambda: process.poll() is not None, PATIENCE_SECONDS, "a process ends")
        return int(process.returncode)

    def wait_for_worker_to_end(self, host: str) -> None:
        self.wait_for_end(self._workers[host])

    def read_token(self) -> str | None:
        """Which run may write to the store."""
        text = (self.store.parent / ".simulation.lock").read_text(encoding="utf-8")
        try:
            return str(json.loads(text)["token"])
        except ValueError:  # none, or it is being written
            return None

    def read_chunks(self) -> dict[str, bytes]:
        """All that has been computed, as it lies on the disk."""
        return {str(path): path.read_bytes() for path in self.store.glob("*/c/**/*") if path.is_file()}

    def is_written(self) -> bool:
        """True if a task holds the lock under which it writes a chunk."""
        with (self.store.parent / ".simulation.writing").open("r+b") as gate:
            lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind: int = struct.unpack("hhqqi", fcntl.fcntl(gate, fcntl.F_OFD_GETLK, lock))[0]
        return kind != fcntl.F_UNLCK

    @contextmanager
    def frozen(self, host: str) -> Iterator[None]:
        """Stop all processes of a host for a while."""
        self.network.stop(host)
        try:
            yield
        finally:
            self.network.signal(host, signal.SIGCONT)

    @contextmanager
    def frozen_between_writes(self, host: str) -> Iterator[None]:
        """Stop all processes of a host for a while, and not in the middle of a write: that would rightly be ended."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            with self.frozen(host):
                # The other host writes for some milliseconds at a time; a lock that stays is the one of this host.
                if any(not self.is_written() or threading.Event().wait(0.02) for _ in range(50)):
                    yield
                    return
            threading.Event().wait(0.02)
        pytest.fail(f"{host} is always in the middle of a write")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not has_namespaces():
        pytest.skip("NOT TESTED: several hosts; needs root and iproute2")
    with Network(["scheduler", "driver", *WORKERS]) as network:
        yield Site(network, tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(running: Site, tmp_path: Path) -> Site:
    running.begin(tmp_path / "results")
    return running


def read_values(store: Path) -> dict[str, bytes]:
    """What is computed, without when and at which attempt."""
    with xr.open_zarr(store) as opened:
        return {name: opened[name].values.tobytes() for name in ("overlap", "squared_norm", "status")}


@pytest.fixture(scope="module")
def undisturbed(running: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The values of a run on this machine."""
    results = tmp_path_factory.mktemp("undisturbed")
    command = [sys.executable, "-m", "clhd", "simulate", str(running.experiment), "--results", str(results)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    assert f"in {BLOCKS} blocks" in run.stderr
    assert f"{BLOCKS * 3 * 256} ok; {BLOCKS * 3 * 256} computed now" in run.stdout
    return read_values(results / "hosts" / "simulation.zarr")


def test_short_cuts_are_not_even_noticed(site: Site, undisturbed: dict[str, bytes]) -> None:
    before = set(site.network.find_processes("bob")), site.count_registrations("bob")
    driver = site.drive()
    site.wait_for_blocks(1)
    for host in ("bob", "driver"):
        site.network.cut(host)
    threading.Event().wait(NOTICE_SECONDS / 4)
    for host in ("bob", "driver"):
        site.network.heal(host)
    assert site.wait_for_end(driver) == 0, site.read_log()
    assert read_values(site.store) == undisturbed
    with xr.open_zarr(site.store) as opened:
        assert (opened.attempts == 1).all()
    processes, registrations = before
    assert len(processes) >= 2, "the worker and its nanny"
    assert processes <= set(site.network.find_processes("bob"))
    assert site.count_registrations("bob") == registrations


def test_a_slow_host_only_delays(site: Site, undisturbed: dict[str, bytes]) -> None:
    driver = site.drive()
    site.wait_for_blocks(1)
    end = time.monotonic() + PATIENCE_SECONDS
    while driver.poll() is None and time.monotonic() < end:
        with site.frozen("bob"):
            threading.Event().wait(0.4)
        threading.Event().wait(0.1)
    assert driver.poll() == 0, site.read_log()
    assert read_values(site.store) == undisturbed


def test_a_driver_that_is_cut_off_ends_with_one_line_and_the_same_command_goes_on(
    site: Site, undisturbed: dict[str, bytes]
) -> None:
    driver = site.drive()
    site.wait_for_blocks(1)
    site.network.cut("driver")
    assert site.wait_for_end(driver) == 2
    lines = site.read_log().splitlines()
    assert lines[-1] == (
        "the scheduler was lost; all finished blocks are kept. Start it again: the same command then continues "
        "from there"
    )
    assert all(line.startswith("hosts simulation: ") for line in lines[:-1])

    site.network.heal("driver")
    assert site.wait_for_end(site.drive()) == 0, site.read_log()
    assert read_values(site.store) == undisturbed


def test_a_host_that_is_cut_off_for_good_writes_on_and_the_others_do_the_rest(
    site: Site, undisturbed: dict[str, bytes]
) -> None:
    driver = site.drive()
    site.wait_for_blocks(2)
    with site.frozen("alice"):
        known = site.count_blocks()
        site.network.cut("bob")
        # He has blocks in hand, does not know that he is alone, and shares the store.
        site.wait_for_blocks(known + 1)
    assert site.wait_for_end(driver) == 0, site.read_log()
    assert read_values(site.store) == undisturbed
    site.wait_for_worker_to_end("bob")  # he notices by himself; the next test begins with another


def test_a_lost_host_that_wakes_up_when_the_next_run_has_begun_writes_nothing(
    site: Site, undisturbed: dict[str, bytes]
) -> None:
    driver = site.drive()
    site.wait_for_blocks(2)
    with site.frozen_between_writes("alice"):
        known = site.count_blocks()
        site.network.cut("bob")
        site.wait_for_blocks(known + 1)
        with site.frozen_between_writes("bob"):  # in the middle of his next block
            token = site.read_token()
            driver.kill()
            driver.wait()
            driver = site.drive()
            wait_until(lambda: site.read_token() not in (None, token), PATIENCE_SECONDS, "the next run begins")
            before = site.read_chunks()
        site.wait_for_worker_to_end("bob")
        assert site.read_chunks() == before
    assert site.wait_for_end(driver) == 0, site.read_log()
    assert read_values(site.store) == undisturbed
