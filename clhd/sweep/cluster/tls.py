"""Certificates of one's own, by which the parts of a Dask cluster know each other: TLS, in both directions.

One certificate serves the scheduler, the workers and the clients. The authority that signs it is made with it, and its
key is never written down: nobody can sign a second certificate, and who has none of this folder is not let in. Whoever
has the key of the folder can run code as the user, as Dask sends code: it is like a key of ssh.

    DIR/ca.pem             certificate of the authority: which certificates are accepted
    DIR/certificate.pem    certificate
    DIR/key.pem            its key, mode 0600
    DIR/dask.yaml          settings for `dask scheduler` and `dask worker`: all of the above, and nothing unencrypted
"""

import os
import shlex
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from distributed import Security

from clhd.errors import ClhdError, explain_unwritable

_AUTHORITY, _CERTIFICATE, _KEY, _SETTINGS = "ca.pem", "certificate.pem", "key.pem", "dask.yaml"
_ROLES = ("scheduler", "worker", "client")
_VALID = timedelta(days=365)
_CLOCK_SKEW = timedelta(days=1)  # a host whose clock is behind takes the certificate as well
_SIGNING = x509.KeyUsage(False, False, False, False, False, True, False, False, False)  # certificates, and nothing else
_BOTH_SIDES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
_make_security: Any = Security  # distributed is not typed


def find_default_folder() -> Path:
    """Where certificates are unless told otherwise: ``clhd/tls`` in the user's folder of settings."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "clhd" / "tls"


def make_certificates(folder: Path) -> Path:
    """Make an authority, and one certificate with its key for scheduler, workers and clients.

    Parameters
    ----------
    folder : Path
        Is made, for the user alone (mode 0700).

    Returns
    -------
    Path
        The folder, absolute.

    Raises
    ------
    ClhdError
        If the folder exists, for a running cluster may use it; or cannot be written.
    """
    folder = folder.absolute()
    if folder.exists():
        raise ClhdError(f"{folder}: exists already, and is not overwritten: remove it first, or name another folder")
    with explain_unwritable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Under another name until it is complete. Its mode is 0700.
        available = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            settings = yaml.safe_dump(_dask_settings(folder), sort_keys=False)
            for name, content in {**_make_contents(), _SETTINGS: settings}.items():
                descriptor = os.open(available / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(content)
            available.rename(folder)
        except BaseException:
            shutil.rmtree(available)
            raise
    return folder


def make_security() -> Any:
    """Certificates for one run, that nobody else has and that are not kept in files.

    Returns
    -------
    distributed.Security
    """
    contents = _make_contents()
    return _secure(contents[_AUTHORITY], contents[_CERTIFICATE], contents[_KEY])


def _make_contents() -> dict[str, str]:
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _sign("clhd authority", authority_key, authority_key, x509.BasicConstraints(True, 0))
    certificate = _sign("clhd", key, authority_key, x509.BasicConstraints(False, None))
    contents = {
        _AUTHORITY: authority.public_bytes(Encoding.PEM),
        _CERTIFICATE: certificate.public_bytes(Encoding.PEM),
        _KEY: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    return {name: content.decode("ascii") for name, content in contents.items()}


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority_key: ec.EllipticCurvePrivateKey,
    constraints: x509.BasicConstraints,
) -> x509.Certificate:
    """Sign the key of `name` as the authority."""
    begin = datetime.now(UTC)
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, "clhd authority"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _CLOCK_SKEW)
        .not_valid_after(begin + _VALID)
        .add_extension(constraints, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if constraints.ca:
        builder = builder.add_extension(_SIGNING, critical=True)
    else:
        builder = builder.add_extension(_BOTH_SIDES, critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _dask_settings(folder: Path) -> dict[str, Any]:
    own = {"cert": str(folder / _CERTIFICATE), "key": str(folder / _KEY)}
    roles = {role: dict(own) for role in _ROLES}
    tls = {"ca-file": str(folder / _AUTHORITY), **roles}
    # No result is put aside as a pickle: the folder for it may be another user's.
    memory = {"target": False, "spill": False}
    return {"distributed": {"comm": {"require-encryption": True, "tls": tls}, "worker": {"memory": memory}}}


def load_security(folder: Path) -> Any:
    """Connections that are encrypted, and on which both sides show this folder's certificate.

    Returns
    -------
    distributed.Security

    Raises
    ------
    ClhdError
        If a file is missing or cannot be read, or the certificate has expired.
    """
    files = {name: folder / name for name in (_AUTHORITY, _CERTIFICATE, _KEY)}
    remedy = f"`clhd certificates {shlex.quote(str(folder))}` makes certificates"
    try:
        certificate = x509.load_pem_x509_certificate(files[_CERTIFICATE].read_bytes())
        for path in files.values():
            path.open("rb").close()
    except OSError as error:
        raise ClhdError(f"{error.filename}: cannot be read: {error.strerror}; {remedy}") from None
    except ValueError:
        raise ClhdError(f"{files[_CERTIFICATE]}: holds no certificate; {remedy}, once the folder is removed") from None
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise ClhdError(
            f"{files[_CERTIFICATE]}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}; "
            f"{remedy}, once the folder is removed"
        )
    return _secure(*(str(path.absolute()) for path in files.values()))


def _secure(authority: str, certificate: str, key: str) -> Any:
    """Dask's settings, from contents or from names of files."""
    parts = {"cert": certificate, "key": key}
    own = {f"tls_{role}_{part}": text for role in _ROLES for part, text in parts.items()}
    return _make_security(require_encryption=True, tls_ca_file=authority, **own)


def format_commands(folder: Path) -> str:
    """What to type on which host to compute on a cluster with these certificates."""
    name = shlex.quote(str(folder))
    tls = "" if folder == find_default_folder().absolute() else f" --tls {name}"
    settings = shlex.quote(str(folder / _SETTINGS))
    return f"""certificate and key for scheduler, workers and clients, valid for {_VALID.days} days: {folder}
Who has the key can run programs as you. All hosts must see this folder, clhd and results/ under the same paths.

the scheduler, on one host:
  DASK_CONFIG={settings} dask scheduler --scheduler-file scheduler.json --dashboard-address 127.0.0.1:8787
workers, on each host that computes, one per core:
  DASK_CONFIG={settings} dask worker --scheduler-file scheduler.json --dashboard-address 127.0.0.1:0 \\
    --nthreads 1 --nworkers -1
and the experiment:
  clhd run FILE --scheduler-file scheduler.json{tls}"""
