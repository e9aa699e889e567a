"""What `make` installs comes from behind a proxy with a certificate authority of its own, too."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
_OURS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_", "UV_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def variables(**given: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_OURS)} | given


def exported(folder: Path, **given: str) -> dict[str, str]:
    """Return the variables that `make` gives to pip and uv."""
    (folder / "shows.mk").write_text(f"include {ROOT / 'Makefile'}\nshown:\n\t@env\n")
    command = ["make", "--no-print-directory", "--file", str(folder / "shows.mk"), "shown"]
    shown = subprocess.run(command, cwd=ROOT, env=variables(**given), capture_output=True, text=True, check=True).stdout
    pairs = (line.partition("=") for line in shown.splitlines())
    return {name: value for name, _, value in pairs if name.startswith(("PIP_", "UV_", "SSL_"))}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An index with one package behind a certificate that nobody trusts: its URL, and the file of its authority."""
    package = tmp_path / "index" / "tiny"
    package.mkdir(parents=True)
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(package / name, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    (package / "index.html").write_text(f'<a href="{name}">{name}</a>')
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "index")))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/", str(tmp_path / "ca.pem")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_certificate_authority_of_ones_own_is_trusted(tool: str, index: tuple[str, str], tmp_path: Path) -> None:
    url, authority = index
    install = [str(BIN / "python"), "-m", "pip"] if tool == "pip" else [str(BIN / "uv"), "pip"]
    options = ["--no-cache-dir", "--retries", "0"] if tool == "pip" else ["--no-cache", "--no-config"]
    install += ["install", *options, "--index-url", url, "--target", str(tmp_path / tool), "tiny"]

    def run(**given: str) -> int:
        environment = variables(NO_PROXY="127.0.0.1", UV_HTTP_RETRIES="0", PIP_CONFIG_FILE=os.devnull, **given)
        return subprocess.run(install, env=environment, capture_output=True, check=False).returncode

    assert run() != 0, "nobody trusts it"
    assert run(**exported(tmp_path, SSL_CERT_FILE=authority)) == 0
    assert (tmp_path / tool / "tiny.py").exists()


def test_what_is_set_is_left(tmp_path: Path) -> None:
    mine = {"PIP_CERT": "/mine.pem", "UV_SYSTEM_CERTS": "false"}
    assert exported(tmp_path, SSL_CERT_FILE="/other.pem", **mine).items() >= mine.items()


def test_uv_asks_the_machine_where_it_has_certificates(tmp_path: Path) -> None:
    found = exported(tmp_path)
    assert found["UV_SYSTEM_CERTS"] == ("true" if found["PIP_CERT"] else "false")
    assert not found["PIP_CERT"] or Path(found["PIP_CERT"]).is_file()
