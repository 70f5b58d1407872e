"""The certificate by which the processes of a Dask cluster know each other: TLS, in both directions.

One self-signed certificate serves the scheduler, the workers and the clients, and is the only one that they accept.
Whoever has its key can run code as the user, since Dask sends code: the key is like a key of ssh.

    DIR/ca.pem             which certificates are accepted: this one
    DIR/certificate.pem    the certificate
    DIR/key.pem            its key, mode 0600
    DIR/dask.yaml          settings for `dask scheduler` and `dask worker`: these files, and nothing unencrypted
"""

import os
import shlex
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from distributed import Security

from clhd.errors import ClusterError, explain_unwritable

_AUTHORITY, _CERTIFICATE, _KEY, _SETTINGS = "ca.pem", "certificate.pem", "key.pem", "dask.yaml"
_ROLES = ("scheduler", "worker", "client")


def find_default_folder() -> Path:
    """The folder of certificates unless another is named: ``clhd/tls`` in the user's folder of settings."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "clhd" / "tls"


def make_certificates(folder: Path) -> Path:
    """Make a certificate and its key, valid for a year, in a new folder (mode 0700), and return its absolute path.

    Raises
    ------
    ClhdError
        If the folder exists, since a running cluster may use it; or it cannot be written.
    """
    folder = folder.absolute()
    if folder.exists():
        raise ClusterError(f"{folder}: exists already and is not overwritten; remove it first, or name another folder")
    own = Security.temporary()
    contents = {
        _AUTHORITY: own.tls_ca_file,
        _CERTIFICATE: own.tls_client_cert,
        _KEY: own.tls_client_key,
        _SETTINGS: yaml.safe_dump(_dask_settings(folder), sort_keys=False),
    }
    with explain_unwritable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The folder gets its name when it is complete.
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            available = Path(temporary) / folder.name
            available.mkdir(mode=0o700)
            for name, content in contents.items():
                (available / name).touch(mode=0o600)
                (available / name).write_text(content, encoding="utf-8")
            available.rename(folder)
    return folder


def _dask_settings(folder: Path) -> dict[str, Any]:
    """Dask's settings for the certificate of a folder; with them, workers write no results to disk as pickles."""
    own = {"cert": str(folder / _CERTIFICATE), "key": str(folder / _KEY)}
    tls = {"ca-file": str(folder / _AUTHORITY), **{role: dict(own) for role in _ROLES}}
    memory = {"target": False, "spill": False}
    return {"distributed": {"comm": {"require-encryption": True, "tls": tls}, "worker": {"memory": memory}}}


def load_security(folder: Path) -> Security:
    """Dask's settings for encrypted connections on which both sides show the certificate of a folder.

    Raises
    ------
    ClhdError
        If a file is missing or cannot be read, others may read the key, or the certificate has expired.
    """
    authority, certificate, key = files = [folder / name for name in (_AUTHORITY, _CERTIFICATE, _KEY)]
    first = "remove the folder, then " if folder.exists() else ""
    remedy = f"{first}`clhd certificates {shlex.quote(str(folder))}` makes a certificate"
    try:
        for path in files:
            path.open("rb").close()
        end = _read_end(certificate)
    except OSError as error:
        raise ClusterError(f"{error.filename}: cannot be read: {error.strerror}; {remedy}") from None
    except ValueError:
        raise ClusterError(f"{certificate}: holds no certificate; {remedy}") from None
    check_key(key)
    if end < datetime.now(UTC):
        raise ClusterError(f"{certificate}: expired on {end:%Y-%m-%d}; {remedy}")
    parts = {"cert": str(certificate.absolute()), "key": str(key.absolute())}
    own = {f"tls_{role}_{part}": path for role in _ROLES for part, path in parts.items()}
    return Security(require_encryption=True, tls_ca_file=str(authority.absolute()), **own)


def check_key(key: Path) -> None:
    """Raise ClhdError if others may read or change the file of a key: then they may run programs as the user."""
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ClusterError(
            f"{key}: others may read or change this key (mode {mode:04o}), and with it run programs as you; "
            f"`chmod 600 {shlex.quote(str(key))}`, or make another certificate if someone may have read it"
        )


def _read_end(certificate: Path) -> datetime:
    """When a certificate expires; ValueError if the file holds none."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def format_commands(folder: Path) -> str:
    """The commands that start a cluster with these certificates, and that compute on it."""
    name = shlex.quote(str(folder))
    tls = "" if folder == find_default_folder().absolute() else f" --tls {name}"
    settings = shlex.quote(str(folder / _SETTINGS))
    end = f"{_read_end(folder / _CERTIFICATE):%Y-%m-%d}"
    return f"""certificate and key for scheduler, workers and clients, valid until {end}: {folder}
Whoever has the key can run programs as you. All hosts must see this folder, clhd and results/ under the same paths.

the scheduler, on one host:
  DASK_CONFIG={settings} dask scheduler --scheduler-file scheduler.json --dashboard-address 127.0.0.1:8787
workers, on each host that computes, one per core:
  DASK_CONFIG={settings} dask worker --scheduler-file scheduler.json --dashboard-address 127.0.0.1:0 \\
    --nthreads 1 --nworkers -1
and the experiment:
  clhd run FILE --scheduler-file scheduler.json{tls}"""
