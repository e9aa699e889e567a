from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

SCOPE = "https://analysis.windows.net/powerbi/api/.default"


@pytest.fixture
def emulators(start):
    return start()


def test_msal_gets_a_token_that_power_bi_takes(emulators, entra_app, powerbi_client):
    answer = entra_app(emulators).acquire_token_for_client([SCOPE])
    assert answer["expires_in"] == 3599
    assert powerbi_client(emulators, answer["access_token"]).get("groups").status_code == 200
    entry = emulators.ledger.entries("entra", "token")[0]
    assert (entry.outcome, entry.detail["credential"]) == ("ok", "client_secret")


def test_wrong_secret(emulators, entra_app):
    answer = entra_app(emulators, client_credential="wrong").acquire_token_for_client([SCOPE])
    assert answer["error"] == "invalid_client"
    assert answer["error_codes"] == [7000215]
    assert answer["error_description"].startswith("AADSTS7000215: Invalid client secret provided.")
    assert {"timestamp", "trace_id", "correlation_id", "error_uri"} <= set(answer)
    assert emulators.ledger.entries("entra", "token")[0].outcome == "AADSTS7000215"


def test_unknown_client(emulators, entra_app):
    answer = entra_app(emulators, client_id="nobody").acquire_token_for_client([SCOPE])
    assert answer["error_codes"] == [700016]


def test_unknown_tenant_has_no_discovery(emulators, entra_app):
    with pytest.raises(ValueError, match="authority"):
        entra_app(emulators, authority=f"{emulators.authority}/nobody").acquire_token_for_client([SCOPE])


def test_scope_without_default(emulators, entra_app):
    answer = entra_app(emulators).acquire_token_for_client(["https://analysis.windows.net/powerbi/api/Dataset.Read"])
    assert answer["error_codes"] == [1002012]


def test_unknown_clients_are_taken_where_everything_is_made_up(start, entra_app):
    emulators = start({"auto_create": True})
    app = entra_app(emulators, client_id="mine", authority=f"{emulators.authority}/my-tenant")
    assert "access_token" in app.acquire_token_for_client([SCOPE])


@pytest.fixture(scope="module")
def certificate() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return {
        "private_key": key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
        "public_certificate": signed.public_bytes(encoding).decode(),
        "thumbprint": signed.fingerprint(hashes.SHA1()).hex(),
    }


def test_certificate(emulators, entra_app, certificate):
    assert "access_token" in entra_app(emulators, client_credential=certificate).acquire_token_for_client([SCOPE])
    assert emulators.ledger.entries("entra", "token")[0].detail["credential"] == "client_assertion"


def test_assertion_that_is_no_jwt(emulators, entra_app):
    app = entra_app(emulators, client_credential={"client_assertion": "nonsense"})
    assert app.acquire_token_for_client([SCOPE])["error_codes"] == [700027]


def test_secret_and_token_never_reach_the_ledger(emulators, entra_app):
    token = entra_app(emulators).acquire_token_for_client([SCOPE])["access_token"]
    text = str(emulators.ledger.entries())
    assert token not in text
    assert emulators.scenario.powerbi.clients[0].client_secret not in text + repr(emulators.scenario)
