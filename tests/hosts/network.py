"""Hosts on one machine: network namespaces, each with its own addresses and loopback, joined by cables to one switch.

They share the file system, as the hosts of a cluster share its home folders. A cable can be cut, and healed.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_SUBNET = "10.77.0"


def has_namespaces() -> bool:
    """True if this machine lets us make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"clhd-{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    link = ["ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"]
    possible = subprocess.run(link, capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return possible.returncode == 0


class Network:
    """A switch and its hosts.

    Parameters
    ----------
    hosts : sequence of str
        Their names; the k-th has the address 10.77.0.(k + 1).
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.addresses = {host: f"{_SUBNET}.{number}" for number, host in enumerate(hosts, start=1)}
        self._switch = self._namespace("switch")
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            _run("ip", "netns", "add", self._switch)
            _run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", "bridge", "up")
            for host, address in self.addresses.items():
                self._plug(host, address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*self.addresses, "switch"):
            namespace = self._namespace(name)
            found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
            for pid in found.stdout.split():
                _kill(int(pid))
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
        for process in self._started:
            process.wait()

    @staticmethod
    def _namespace(name: str) -> str:
        return f"clhd-{os.getpid()}-{name}"

    def _plug(self, host: str, address: str) -> None:
        namespace = self._namespace(host)
        _run("ip", "netns", "add", namespace)
        _run("ip", "-n", self._switch, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _run("ip", "-n", self._switch, "link", "set", host, "master", "bridge", "up")
        _run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", namespace, "link", "set", device, "up")
        _run("ip", "-n", namespace, "route", "add", "default", "dev", "eth0")  # by it Dask finds the own address

    def cut(self, host: str) -> None:
        """Pull the cable of a host; its processes go on."""
        _run("ip", "-n", self._switch, "link", "set", host, "down")

    def heal(self, host: str) -> None:
        """Put it back."""
        _run("ip", "-n", self._switch, "link", "set", host, "up")

    def start(
        self, host: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a command on a host; what it prints is added to a file."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._namespace(host), *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process

    def find_processes(self, host: str) -> list[int]:
        """All processes of a host."""
        command = ["ip", "netns", "pids", self._namespace(host)]
        return [int(pid) for pid in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]

    def signal(self, host: str, number: signal.Signals) -> None:
        """Send a signal to all processes of a host."""
        for pid in self.find_processes(host):
            _kill(pid, number)

    def stop(self, host: str) -> None:
        """Stop all processes of a host, and wait until each is."""
        self.signal(host, signal.SIGSTOP)
        wait_until(lambda: all(map(_is_stopped, self.find_processes(host))), 10, f"the processes of {host} stop")


def _is_stopped(pid: int) -> bool:
    """True if a process does nothing; so does one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] in "TZ"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds; the time only ends what would never end."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.05)
