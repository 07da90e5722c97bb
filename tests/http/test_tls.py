"""HTTPS on the gateway's own port: streams, clients that leave or stall, a renewed certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from llmux.config import TlsConfig, server_context
from llmux.http import Limits
from tests.conftest import Need
from tests.http.stand import Line, chat, post, say, stand


def make(openssl: str, folder: Path, name: str = "") -> TlsConfig:
    """Make a certificate for localhost that vouches for itself."""
    tls = TlsConfig(str(folder / f"{name}cert.pem"), str(folder / f"{name}key.pem"))
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(tls.key), "-out", str(tls.cert)]
    subprocess.run(command, check=True, capture_output=True)
    return tls


def trusting(tls: TlsConfig) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=tls.cert)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsConfig]:
    return {}


@pytest.fixture
def tls(
    need: Need, made: dict[str, TlsConfig], tmp_path_factory: pytest.TempPathFactory
) -> TlsConfig:
    if not made:
        made["one"] = make(need("openssl"), tmp_path_factory.mktemp("tls"))
    return made["one"]


def served(tls: TlsConfig) -> ssl.SSLContext:
    context = server_context(tls, Path())
    assert context is not None
    return context


async def test_https_is_spoken_and_a_connection_is_used_again(tls: TlsConfig) -> None:
    async with stand(tls=served(tls)) as the:
        client = await the.client(trusting(tls))
        for size in (0, 100_000, 5_000_000):
            await client.send(post(chat(x="y" * size)))
            answer = await client.message()
            assert answer.status == 200
            assert len(answer.body) == len(chat(x="y" * size))
        spoken = client.writer.get_extra_info("ssl_object")
        assert spoken.version() in ("TLSv1.2", "TLSv1.3")
        assert spoken.selected_alpn_protocol() is None


async def test_nothing_older_than_tls_1_2_is_spoken(tls: TlsConfig) -> None:
    assert served(tls).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_who_speaks_plain_http_to_it_gets_no_answer_and_harms_nobody(tls: TlsConfig) -> None:
    async with stand(tls=served(tls)) as the:
        plain = await the.client()
        await plain.send(post(chat()))
        assert not (await plain.reader.read(-1)).startswith(b"HTTP")
        client = await the.client(trusting(tls))
        await client.send(post(chat()))
        assert (await client.message()).status == 200


async def test_a_handshake_that_never_ends_is_cut_within_the_bound_of_a_head(
    tls: TlsConfig,
) -> None:
    async with stand(tls=served(tls), limits=Limits(header_timeout_secs=0.2)) as the:
        silent = await the.client()
        async with asyncio.timeout(20):
            assert await silent.ended()


async def test_a_stream_comes_piece_by_piece(tls: TlsConfig) -> None:
    second = asyncio.Event()

    async def drip(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await second.wait()
        await line.send(b"3\r\ntwo\r\n0\r\n\r\n")

    async with stand(drip, tls=served(tls)) as the:
        client = await the.client(trusting(tls))
        await client.send(post(chat()))
        assert (await client.reader.readuntil(b"one\r\n")).endswith(b"one\r\n")
        second.set()
        assert (await client.reader.readuntil(b"0\r\n\r\n")).startswith(b"3\r\ntwo")


@pytest.mark.parametrize("how", ["goodbye", "reset"])
async def test_a_client_that_leaves_is_seen_by_its_backend(tls: TlsConfig, how: str) -> None:
    gone = asyncio.Event()

    async def wait(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await line.ended()
        gone.set()

    async with stand(wait, tls=served(tls)) as the:
        client = await the.client(trusting(tls))
        await client.send(post(chat()))
        await client.reader.readuntil(b"one\r\n")
        client.close() if how == "goodbye" else client.reset()
        async with asyncio.timeout(20):
            await gone.wait()
            await the.gate.until(inside=0)


async def test_a_client_that_reads_nothing_stops_its_backend(tls: TlsConfig) -> None:
    """The answer is far larger than all buffers on the way; only what fits into them is sent."""
    sent = 0
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    async def flood(line: Line) -> None:
        nonlocal sent
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1600):
            await line.send(piece)
            sent += 1
        await line.send(b"0\r\n\r\n")

    async with stand(flood, tls=served(tls)) as the:
        client = await the.client(trusting(tls))
        client.stall()
        await client.send(post(chat()))
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert 0 < sent < 800
        client.go_on()
        assert len((await client.message()).body) == 1600 * 65536


async def test_an_answer_that_was_cut_does_not_end_like_a_whole_one(tls: TlsConfig) -> None:
    """HTTP/1.0 ends a body by closing; under TLS a polite goodbye would say that it was all."""

    def read_it(port: int) -> None:
        strict = trusting(tls)
        # Some Pythons tell OpenSSL 3 to take a missing goodbye for a goodbye.
        strict.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            strict.wrap_socket(
                plain, server_hostname="localhost", suppress_ragged_eofs=False
            ) as client,
        ):
            head = f"POST /v1/x HTTP/1.0\r\nContent-Length: {len(chat())}\r\n\r\n"
            client.sendall(head.encode() + chat())
            while client.recv(65536):
                pass

    async with stand(say_and_break, tls=served(tls)) as the:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(read_it, the.port)


async def say_and_break(line: Line) -> None:
    await line.message()
    await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    line.reset()


async def test_an_error_behind_a_half_sent_body_can_be_read(tls: TlsConfig) -> None:
    async with stand(say(b""), tls=served(tls), limits=Limits(max_body_bytes=10)) as the:
        client = await the.client(trusting(tls))
        await client.send(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
        assert (await client.message()).status == 413


@pytest.mark.parametrize("named", [True, False])
async def test_a_renewed_certificate_greets_the_next_connection(
    tls: TlsConfig, need: Need, tmp_path: Path, named: bool
) -> None:
    """Connections that are open go on, whether or not a client says whom it calls."""
    other = make(need("openssl"), tmp_path, "new-")
    name = "localhost" if named else "127.0.0.1"
    async with stand(tls=served(tls)) as the:
        old = await the.client(trusting(tls), name)
        for renewed in (tls, other):
            the.gateway.renew_certificate(served(renewed))
        for client in (old, await the.client(trusting(other), name)):
            await client.send(post(chat()))
            assert (await client.message()).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await the.client(trusting(tls), name)


def test_a_key_of_another_certificate_is_a_mistake(
    tls: TlsConfig, need: Need, tmp_path: Path
) -> None:
    other = make(need("openssl"), tmp_path)
    with pytest.raises(ValueError, match=r"`tls\.key` .* does not belong to `tls\.cert`"):
        server_context(TlsConfig(other.cert, tls.key), Path())


def test_a_key_with_a_passphrase_is_a_mistake_and_nobody_is_asked(
    need: Need, tls: TlsConfig, tmp_path: Path
) -> None:
    locked = str(tmp_path / "locked.pem")
    command = [need("openssl"), "ec", "-in", str(tls.key), "-aes128", "-passout", "pass:x"]
    subprocess.run([*command, "-out", locked], check=True, capture_output=True)
    with pytest.raises(ValueError, match="has a passphrase"):
        server_context(TlsConfig(tls.cert, locked), Path())
