"""Identities to log in with: certificates, a machine with a managed identity, a Google service account."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

IMDS_PATH = "/metadata/identity/oauth2/token"


def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def plain_pem(key: rsa.RSAPrivateKey) -> str:
    """Return the key as PEM without a passphrase."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def certificate_file(folder: Path, kind: str, passphrase: str | None, key: rsa.RSAPrivateKey | None = None) -> Path:
    """
    Write a private key with its certificate.

    :param kind: ``pem`` or ``pfx``.
    """
    key = key or private_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encryption: Any = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    if kind == "pfx":
        content = pkcs12.serialize_key_and_certificates(b"app", key, certificate, None, encryption)
    else:
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        content = pem + certificate.public_bytes(serialization.Encoding.PEM)
    path = folder / f"app.{kind}"
    path.write_bytes(content)
    return path


class IdentityServer:
    """
    What answers on a machine that has an identity of its own, on loopback.

    - Azure's instance metadata service,
      https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
    - Google's token endpoint for service accounts, https://developers.google.com/identity/protocols/oauth2/service-account

    :param issue: returns an access token of the Power BI emulator, for the managed identity.
    """

    def __init__(self, issue: Callable[[], str]) -> None:
        self._issue = issue
        #: What was asked for: the path, and the query or form.
        self.asked: list[tuple[str, dict[str, str]]] = []
        #: Google's identity tokens, which are shown to Entra ID.
        self.identity_tokens: list[str] = []
        #: Status and body of every answer instead of a token.
        self.refusal: tuple[int, str] | None = None
        self.url = ""

    def answer(self, path: str, given: dict[str, str]) -> tuple[int, str]:
        self.asked.append((path, given))
        if self.refusal:
            return self.refusal
        if path == IMDS_PATH:
            token = {"access_token": self._issue(), "expires_in": "3599", "resource": given["resource"], "token_type": "Bearer"}
            return 200, json.dumps(token)
        # The service account signs for what it wants a token; the answer's audience is that.
        wanted = jwt.decode(given["assertion"], options={"verify_signature": False})
        claims = {"iss": "https://accounts.google.com", "sub": "1", "aud": wanted["target_audience"], "exp": time.time() + 600}
        self.identity_tokens.append(jwt.encode(claims, "k" * 32))
        return 200, json.dumps({"id_token": self.identity_tokens[-1]})


@contextmanager
def identity_server(issue: Callable[[], str]) -> Iterator[IdentityServer]:
    state = IdentityServer(issue)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self.headers.get("Metadata") != "true":
                self._send(400, "{}")
                return
            self._send(*state.answer(url.path, {key: values[0] for key, values in parse_qs(url.query).items()}))

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._send(*state.answer(self.path, {key: values[0] for key, values in parse_qs(form).items()}))

        def _send(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def service_account_file(folder: Path, token_uri: str, key: rsa.RSAPrivateKey | None = None) -> Path:
    """Write the file of a Google service account, as GOOGLE_APPLICATION_CREDENTIALS names one."""
    account = {
        "type": "service_account",
        "project_id": "demo-project",
        "private_key_id": "1",
        "private_key": plain_pem(key or private_key()),
        "client_email": "airflow@demo-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    path = folder / "service_account.json"
    path.write_text(json.dumps(account), encoding="utf-8")
    return path
