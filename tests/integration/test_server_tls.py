"""The server behind a certificate of its own: https and wss, and what is said of bad files."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coda_voice.config.server import ServerConfig
from coda_voice.errors import ConfigurationError
from coda_voice.server.run import listen
from tests.integration.voice_server import FRAME_BYTES, StreamClient, voice_server


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


async def test_https_and_wss(tmp_path: Path):
    certificate, key = self_signed(tmp_path, "voice")
    trusted = ssl.create_default_context(cafile=str(certificate))
    with voice_server(server__tls_certificate=str(certificate), server__tls_key=str(key)) as server:
        async with httpx.AsyncClient(verify=trusted, timeout=120) as http:
            address = f"https://127.0.0.1:{server.port}"
            assert (await http.get(f"{address}/health")).json()["status"] == "ready"
            with pytest.raises(httpx.HTTPError):
                await http.get(f"http://127.0.0.1:{server.port}/health")
        url = f"wss://127.0.0.1:{server.port}/v1/stream"
        async with StreamClient(url, ssl=trusted, origin=address) as client:
            await client.ready()
            assert len(await client.frame()) == FRAME_BYTES
            await client.tell("close")
            assert await client.closed() == 1000


def test_files_that_are_no_certificate_are_said_before_anything_starts(tmp_path: Path):
    certificate, key = self_signed(tmp_path, "one")
    _, other = self_signed(tmp_path, "other")
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("no certificate")
    for first, second, says in (
        (certificate, None, "both"),
        (missing, key, "missing.pem"),
        (text, key, "PEM"),
        (certificate, other, "belong together"),
    ):
        settings = ServerConfig(
            port=0,
            tls_certificate=str(first),
            tls_key=None if second is None else str(second),
        )
        with pytest.raises(ConfigurationError, match=says):
            listen(settings)
