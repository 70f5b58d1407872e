"""Hosts on one machine: network namespaces, each with its own addresses and loopback, joined by cables to one switch.

They share the file system, as the hosts of a cluster share its home folders. A cable can be cut, and healed.

The namespaces have no names: each lasts as long as its processes, which die with this one, also when that is killed.
So nothing is left on the machine.
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
_SWITCH = "switch"
_PATIENCE_SECONDS = 30
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


def has_namespaces() -> bool:
    """True if this machine lets us make network namespaces and join them."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "setpriv", "unshare", "nsenter"))):
        return False
    links = "ip link add one type veth peer name two && ip link add three type bridge"
    return subprocess.run(["unshare", "--net", "sh", "-c", links], capture_output=True, check=False).returncode == 0


class Network:
    """A switch and its hosts.

    Parameters
    ----------
    hosts : sequence of str
        Their names; the k-th has the address 10.77.0.(k + 1).
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.addresses = {host: f"{_SUBNET}.{number}" for number, host in enumerate(hosts, start=1)}
        # Of each namespace a process that does nothing, by which the others find it.
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            for name in (_SWITCH, *self.addresses):
                self._open(name)
            self._ip(_SWITCH, "link", "add", "bridge", "type", "bridge")
            self._ip(_SWITCH, "link", "set", "bridge", "up")
            for host, address in self.addresses.items():
                self._plug(host, address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.addresses:
            with suppress(KeyError, OSError):  # its namespace is not there
                self.signal(host, signal.SIGKILL)
        for process in (*self._started, *self._holders.values()):
            process.kill()
            process.wait(_PATIENCE_SECONDS)

    def _open(self, name: str) -> None:
        """Make a namespace."""
        here = _find_namespace(os.getpid())
        holder = subprocess.Popen([*_DIE_WITH_PARENT, "unshare", "--net", "sleep", "infinity"])
        self._holders[name] = holder
        wait_until(lambda: _find_namespace(holder.pid) != here, _PATIENCE_SECONDS, "a namespace is there")

    def _enter(self, name: str) -> list[str]:
        """The beginning of a command that runs in a namespace."""
        return ["nsenter", f"--net=/proc/{self._holders[name].pid}/ns/net"]

    def _ip(self, name: str, *command: str) -> None:
        subprocess.run([*self._enter(name), "ip", *command], check=True, capture_output=True, timeout=_PATIENCE_SECONDS)

    def _plug(self, host: str, address: str) -> None:
        there = str(self._holders[host].pid)
        self._ip(_SWITCH, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", there)
        self._ip(_SWITCH, "link", "set", host, "master", "bridge", "up")
        self._ip(host, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip(host, "link", "set", device, "up")
        self._ip(host, "route", "add", "default", "dev", "eth0")  # by it Dask finds the own address

    def cut(self, host: str) -> None:
        """Pull the cable of a host; its processes go on."""
        self._ip(_SWITCH, "link", "set", host, "down")

    def heal(self, host: str) -> None:
        """Put it back."""
        self._ip(_SWITCH, "link", "set", host, "up")

    def start(
        self, host: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a command on a host; what it prints is added to a file."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*_DIE_WITH_PARENT, *self._enter(host), *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process

    def find_processes(self, host: str) -> list[int]:
        """All processes of a host."""
        holder = self._holders[host].pid
        there, found = _find_namespace(holder), []
        for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
            with suppress(OSError):  # it has ended
                if pid != holder and _find_namespace(pid) == there:
                    found.append(pid)
        return found

    def signal(self, host: str, number: signal.Signals) -> None:
        """Send a signal to all processes of a host."""
        for pid in self.find_processes(host):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, host: str) -> None:
        """Stop all processes of a host, and wait until each is."""
        self.signal(host, signal.SIGSTOP)
        wait_until(lambda: all(map(_is_stopped, self.find_processes(host))), 10, f"the processes of {host} stop")


def _find_namespace(pid: int) -> Path:
    """What tells the network namespace of a process from others."""
    return Path(f"/proc/{pid}/ns/net").readlink()


def _is_stopped(pid: int) -> bool:
    """True if a process does nothing; so does one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] in "TZ"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds; the time only ends what would never end."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.05)
