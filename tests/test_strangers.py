"""A stranger sends nothing but the signed request, and tells nothing of its secrets."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pytest_opendal.digests import BLOCK, Content, Data
from pytest_opendal.models import PresignedRequest
from pytest_opendal.strangers import NoAnswer, ask, explain, place, scrub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HOST = "127.0.0.1"
SECONDS = 5.0
KEY = "AKIAEXAMPLEKEYID"
SIGNATURE = "f00d" * 16
QUERY = f"X-Amz-Credential={KEY}%2F20260101%2Fs3&X-Amz-Expires=60&X-Amz-Signature={SIGNATURE}"


def signed(url: str, method: str = "GET", **headers: str) -> PresignedRequest:
    return PresignedRequest(url=url, method=method, headers=headers)


class Server:
    """Answers one connection with given bytes, and keeps what it was sent."""

    def __init__(self, answer: bytes, *, reads: int | None = None, hangs: bool = False) -> None:
        """Prepare the answer.

        Args:
            answer: all that is sent.
            reads: bytes of the request's body to wait for.
            hangs: keep the connection open after the answer.
        """
        self.answer = answer
        self.reads = reads
        self.hangs = hangs
        self.head = b""
        self.body = b""
        self.port = 0
        self.gone = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.idle.clear()
        with suppress(OSError):
            await self.talk(reader, writer)
        self.gone.set()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self.idle.set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        if self.reads is not None:
            self.body = await reader.readexactly(self.reads)
        writer.write(self.answer)
        await writer.drain()
        if self.hangs:
            await reader.read()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/bucket/a%20b?{QUERY}"

    @property
    def header_names(self) -> list[str]:
        return [line.partition(b":")[0].decode() for line in self.head.split(b"\r\n")[1:-2]]


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    async with await asyncio.start_server(server.serve, HOST, 0, ssl=tls) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
        await asyncio.wait_for(server.idle.wait(), SECONDS)


async def talk(
    server: Server, method: str = "GET", content: Content | None = None, /, **headers: str
) -> tuple[int, bytes]:
    async with serving(server):
        request = signed(server.url, method, **headers)
        async with ask(request, SECONDS, content) as found:
            return found.status, b"".join([chunk async for chunk in found.body])


def answer(server: Server, method: str = "GET") -> tuple[int, bytes]:
    return asyncio.run(talk(server, method))


# What is sent.


def test_a_stranger_sends_only_what_was_signed_and_what_http_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert asyncio.run(talk(server, x_signed="yes")) == (200, b"hi")
    assert server.head.startswith(f"GET /bucket/a%20b?{QUERY} HTTP/1.1\r\n".encode())
    assert server.header_names == ["Host", "Connection", "x_signed"]
    assert f"Host: {HOST}:{server.port}\r\n".encode() in server.head


def test_a_body_is_sent_with_its_length_and_no_content_type() -> None:
    content = Data(b"x" * (3 * BLOCK + 1))
    server = Server(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", reads=content.size)
    assert asyncio.run(talk(server, "PUT", content)) == (201, b"")
    assert server.body == content.data
    assert server.header_names == ["Host", "Connection", "Content-Length"]


def test_a_signed_header_replaces_our_own() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    asyncio.run(talk(server, host="storage.example"))
    assert server.header_names == ["Connection", "host"]


def test_the_target_of_a_bare_url_is_its_root() -> None:
    async def bare() -> bytes:
        server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        async with serving(server):
            request = signed(f"http://{HOST}:{server.port}")
            async with ask(request, SECONDS):
                return server.head

    assert asyncio.run(bare()).startswith(b"GET / HTTP/1.1\r\n")


# What is received.

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
        CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200\n\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=["length", "chunked", "until-the-end", "bare-newlines", "wrong-length", "interim-answer"],
)
def test_a_body_is_received_in_every_form_of_http(raw: bytes) -> None:
    assert answer(Server(raw)) == (200, b"hello")


@pytest.mark.parametrize(
    ("raw", "is_cut"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", False),
        (CHUNKED + b"9\r\nhello", True),
        (CHUNKED + b"5\r\nhello", True),
        (CHUNKED + b"5\r\nhello\r\n", True),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", False),
    ],
)
def test_a_body_that_is_cut_ends_without_an_error_and_is_known(raw: bytes, *, is_cut: bool) -> None:
    async def read() -> None:
        server = Server(raw)
        async with serving(server), ask(signed(server.url), SECONDS) as found:
            assert b"".join([chunk async for chunk in found.body]) == b"hello"
            assert found.is_cut == is_cut

    asyncio.run(read())


@pytest.mark.parametrize("hangs", [False, True])
def test_the_answer_to_head_has_a_length_and_no_body(*, hangs: bool) -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hangs=hangs)
    assert answer(server, "HEAD") == (200, b"")


def test_a_body_after_head_is_noticed() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert answer(server, "HEAD") == (200, b"hello")


@pytest.mark.parametrize(
    ("line", "length"), [("Content-Length: 7", 7), ("X: 7", None), ("Content-Length: x", None)]
)
def test_the_length_is_what_the_server_promises(line: str, length: int | None) -> None:
    async def promised() -> int | None:
        server = Server(f"HTTP/1.1 200 OK\r\n{line}\r\n\r\n".encode())
        async with serving(server), ask(signed(server.url, "HEAD"), SECONDS) as found:
            return found.length

    assert asyncio.run(promised()) == length


def test_a_redirect_is_not_followed_and_its_query_is_hidden() -> None:
    async def location() -> tuple[int, str]:
        head = "HTTP/1.1 307 Moved\r\nLocation: http://other.example/x?secret=1\r\n\r\n"
        server = Server(head.encode())
        async with serving(server), ask(signed(server.url), SECONDS) as found:
            return found.status, found.location

    assert asyncio.run(location()) == (307, "http://other.example/x?...")


def test_what_is_no_redirect_leads_nowhere() -> None:
    async def location() -> str:
        server = Server(b"HTTP/1.1 403 Forbidden\r\nLocation: /login\r\n\r\n")
        async with serving(server), ask(signed(server.url), SECONDS) as found:
            return found.location

    assert asyncio.run(location()) == ""


def test_a_refusal_is_heard_before_the_whole_body_was_sent() -> None:
    server = Server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", hangs=True)
    assert asyncio.run(talk(server, "PUT", Data(b"x" * 50_000_000))) == (403, b"")


class Hasty(Server):
    """Says that all is well before it reads the request's body."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        await writer.drain()
        self.body = await reader.readexactly(self.reads or 0)


def test_all_is_sent_to_a_server_that_says_early_that_all_is_well() -> None:
    content = Data(b"x" * 5_000_000)
    server = Hasty(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", reads=content.size)
    assert asyncio.run(talk(server, "PUT", content)) == (200, b"")
    assert server.body == content.data


# No answer.


def failure(server: Server, seconds: float = SECONDS, content: Content | None = None) -> str:
    async def read() -> None:
        async with serving(server), ask(signed(server.url), seconds, content) as found:
            async for _ in found.body:
                pass

    with pytest.raises(NoAnswer) as caught:
        asyncio.run(read())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", f"{HOST} hung up before it answered"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", f"{HOST} hung up before it answered"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", f"{HOST} did not answer in HTTP"),
        (CHUNKED + b"zz\r\n", "did not answer in HTTP"),
        (CHUNKED + b"-1\r\nhello", "did not answer in HTTP"),
        (CHUNKED + b"2\r\nhello\r\n0\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "did not answer in HTTP"),
    ],
    ids=[
        "nothing",
        "half",
        "ssh",
        "chunks",
        "negative",
        "long-chunk",
        "many-headers",
        "long-header",
    ],
)
def test_what_is_no_http_is_said_so(raw: bytes, why: str) -> None:
    assert why in failure(Server(raw))


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"])
def test_a_silent_server_is_given_up(raw: bytes) -> None:
    assert failure(Server(raw, hangs=True), 0.2) == f"{HOST} did not answer within 0.2 s"


class Unwilling(Server):
    """Does not read the request's body until its stranger has gone."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await self.gone.wait()


def test_a_server_that_stops_reading_is_given_up() -> None:
    async def write() -> None:
        async with serving(Unwilling(b"")) as server:
            try:
                async with ask(signed(server.url, "PUT"), 0.2, Data(b"x" * 50_000_000)):
                    pass
            finally:
                server.gone.set()

    with pytest.raises(NoAnswer, match=r"did not answer within 0\.2 s"):
        asyncio.run(write())


def test_a_refused_connection_is_said_so() -> None:
    with socket.socket() as unheard:
        unheard.bind((HOST, 0))
        port = unheard.getsockname()[1]

        async def connect() -> None:
            async with ask(signed(f"http://{HOST}:{port}/x?{QUERY}"), SECONDS):
                pass

        with pytest.raises(
            NoAnswer, match=f"no connection with {HOST}: Connection refused"
        ) as caught:
            asyncio.run(connect())
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("Multiple exceptions: ..."), "none of its addresses takes one"),
    ],
)
def test_a_host_without_a_connection_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise error

    async def connect() -> None:
        async with ask(signed("http://minio.lab/x"), SECONDS):
            pass

    monkeypatch.setattr(asyncio, "open_connection", fails)
    with pytest.raises(NoAnswer, match=f"^no connection with minio.lab: {reason}$"):
        asyncio.run(connect())


@pytest.mark.parametrize("place", ["a..b", "127.0.0.1:99999", "127.0.0.1:x"])
def test_an_invalid_host_or_port_is_said_to_be_one(place: str) -> None:
    async def connect() -> None:
        async with ask(signed(f"http://{place}/x"), SECONDS):
            pass

    with pytest.raises(NoAnswer, match="the host or the port of the URL is invalid"):
        asyncio.run(connect())


def test_a_stranger_who_is_cancelled_hangs_up_at_once() -> None:
    async def cancel() -> None:
        server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", hangs=True)

        async def read() -> None:
            async with ask(signed(server.url), 60) as found:
                reading.set()
                async for _ in found.body:
                    pass

        reading = asyncio.Event()
        async with serving(server):
            task = asyncio.create_task(read())
            await reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(server.gone.wait(), SECONDS)

    asyncio.run(cancel())


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its own certificate for the loopback address, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pytest-opendal")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.fixture
def ask_over_tls(certificate: Path) -> Callable[[], tuple[int, bytes]]:
    """Ask a server that shows that certificate."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def talk_tls() -> tuple[int, bytes]:
        server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        async with serving(server, tls):
            url = server.url.replace("http:", "https:")
            async with ask(signed(url), SECONDS) as found:
                return found.status, b"".join([chunk async for chunk in found.body])

    return lambda: asyncio.run(talk_tls())


def test_https_is_spoken_with_a_server_that_this_machine_trusts(
    monkeypatch: pytest.MonkeyPatch,
    certificate: Path,
    ask_over_tls: Callable[[], tuple[int, bytes]],
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ask_over_tls() == (200, b"hello")


def test_https_is_not_spoken_with_a_server_that_nobody_vouches_for(
    ask_over_tls: Callable[[], tuple[int, bytes]],
) -> None:
    with pytest.raises(NoAnswer, match=f"no TLS connection with {HOST}: CERTIFICATE_VERIFY_FAILED"):
        ask_over_tls()


# The server's own words.


def explained(body: str, **headers: str) -> str:
    async def read() -> str:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        server = Server(f"HTTP/1.1 403 Forbidden\r\n{lines}\r\n{body}".encode())
        async with serving(server):
            request = signed(server.url, **{"x-token": "header-secret"})
            async with ask(request, SECONDS) as found:
                return await explain(found, request, SECONDS)

    return asyncio.run(read())


S3_ERROR = f"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The request &amp; the signature differ.
More.</Message><AWSAccessKeyId>{KEY}</AWSAccessKeyId><StringToSign>AWS4 {SIGNATURE}</StringToSign>
<SignatureProvided>{SIGNATURE}</SignatureProvided></Error>"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (S3_ERROR, "SignatureDoesNotMatch: The request & the signature differ."),
        (
            "<Error><Code>InvalidToken</Code><Message>The token is bad</Message></Error>",
            "InvalidToken: The token is bad",
        ),
        ("<html><head><title> 502 Bad Gateway\n</title></head>...", "502 Bad Gateway"),
        (f"<Error><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>", ""),
        ("", ""),
        ("  disk is\t full \nat line 3", "disk is full"),
        (f"no user {KEY}", "no user ..."),
        ("header-secret is wrong", "... is wrong"),
        (f"bad {SIGNATURE[:40]}", "bad ..."),
        ("see http://x.example/y?sig=abc now", "see http://x.example/y?... now"),
        ('{"secret_access_key": "abc"}', '{"secret_access_key": ...'),
        ('{\n "error": {"code": 400,\n  "message": "too \\"old\\"\\nnow"}}', 'too "old" now'),
        ('{\n "message": "no user AKIA\\u0045XAMPLEKEYID"\n}', "no user ..."),
        ('{"error": "denied", "message": "cut', "denied"),
        ('{\n  "code": 5\n}', '{ "code": 5 }'),
        ("{ no json", "{ no json"),
        ("signature=abc&x", "signature=..."),
    ],
)
def test_an_error_is_told_without_its_secrets(body: str, words: str) -> None:
    assert explained(body) == words


def test_azure_tells_the_error_of_a_head_request_in_a_header() -> None:
    assert explained("", **{"x-ms-error-code": "BlobNotFound"}) == "BlobNotFound"


@pytest.mark.parametrize("secret", [KEY, SIGNATURE, "header-secret"])
@pytest.mark.parametrize(("end", "tags"), [(300, ("", "")), (16 * 1024, ("<Error>", "<Message>"))])
def test_no_part_of_a_secret_is_left_where_an_error_is_cut(
    end: int, tags: tuple[str, str], secret: str
) -> None:
    for shown in (3, len(secret) // 2, len(secret) - 1):
        before = ("oh no " * end)[: end - shown - len("".join(tags))]
        words = explained(f"{before.join(tags)}{secret} and more")
        assert words
        assert secret[:3] not in words


def test_only_the_beginning_of_a_long_error_is_told() -> None:
    assert len(explained("oh no " * 10_000)) == 300


def test_a_server_that_falls_silent_in_its_error_has_said_enough() -> None:
    async def read() -> str:
        server = Server(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\noh no", hangs=True)
        async with serving(server):
            request = signed(server.url)
            async with ask(request, 0.2) as found:
                return await explain(found, request, 0.2)

    assert asyncio.run(read()) == "oh no"


class Dripping(Server):
    """Sends a byte of its body now and then, without end."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.answer)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)


def test_all_of_an_error_has_one_limit() -> None:
    async def read() -> str:
        server = Dripping(b"HTTP/1.1 500 No\r\n\r\noh no ")
        async with serving(server):
            request = signed(server.url)
            async with asyncio.timeout(SECONDS), ask(request, SECONDS) as found:
                return await explain(found, request, 0.2)

    assert asyncio.run(read()).startswith("oh no x")


def test_harmless_parameters_do_not_garble_a_message() -> None:
    request = signed(f"http://h/x?X-Amz-SignedHeaders=host&sp=read&X-Amz-Signature={SIGNATURE}")
    assert scrub("read of host refused", request) == "read of host refused"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pw@host:1/a%20b?x=1#y", "http://host:1/a%20b?..."),
        ("https://host/a", "https://host/a"),
        ("", ""),
        ("http://[::1/x?secret", "..."),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert place(url) == shown
