# ruff: noqa: TID253 - trustme is this module's subject, and only the emulators import it
"""A certificate authority of one's own for ``localhost``: msal accepts no authority without HTTPS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class ServerCertificate:
    """
    Files of a local certificate.

    :param ca_file: what clients trust (``verify=``, ``REQUESTS_CA_BUNDLE``).
    :param certificate_file: certificate chain and private key of the server.
    """

    ca_file: Path
    certificate_file: Path


def issue_certificate(folder: Path) -> ServerCertificate:
    """
    Write ``ca.pem`` and ``server.pem`` for ``localhost``, ``127.0.0.1`` and ``::1`` into a folder.

    The authority's own key is never written: nothing else can be signed with it later.
    """
    authority = trustme.CA(organization_name="Cloud accelerator emulators")
    certificate = authority.issue_cert("localhost", "127.0.0.1", "::1")
    files = ServerCertificate(folder / "ca.pem", folder / "server.pem")
    authority.cert_pem.write_to_path(files.ca_file)
    files.certificate_file.touch(mode=0o600)
    certificate.private_key_and_cert_chain_pem.write_to_path(files.certificate_file)
    return files
