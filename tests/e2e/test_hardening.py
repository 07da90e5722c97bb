"""What enemies and fools do to a running gateway; `docs/hardening.md` lists what was found.

After each attempt the gateway still has to serve an honest client.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import resource
import socket
import threading
import time
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from tests.e2e.conftest import Build
from tests.e2e.house import House, Stream, until

BODIES = {
    "nothing": b"",
    "no JSON": b"\xff\xfe\x00 hello",
    "half a JSON": b'{"model": "a", "messages": [',
    "a list": b'["model", "a"]',
    "a number": b"7",
    "null": b"null",
    "model is a list": b'{"model": ["a"]}',
    "model is null": b'{"model": null}',
    "model is empty": b'{"model": ""}',
    "a lone surrogate": b'{"model": "\\ud800"}',
    "a NUL": b'{"model": "a\\u0000"}',
    "lines and quotes": b'{"model": "a\\r\\nx-evil: 1\\"}{"}',
    "nested deeply": b'{"model": "none", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "nested and cut": b'{"model": ' + b"[" * 200_000,
    "a long name": b'{"model": "' + b"n" * 1_000_000 + b'"}',
    "a huge number": b'{"model": 1' + b"0" * 100_000 + b"}",
    "many keys": b'{"model": "none"' + b"".join(b',"k%d":1' % n for n in range(100_000)) + b"}",
}

WIRE = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a bad method": b"G(T / HTTP/1.1\r\nhost: x\r\n\r\n",
    "no host": b"POST /v1/x HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    "two hosts": b"POST /v1/x HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    "a space before the colon": b"POST /v1/x HTTP/1.1\r\nhost : x\r\n\r\n",
    "a folded field": b"POST /v1/x HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n",
    "a bare CR": b"POST /v1/x HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n",
    "two lengths": b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n"
    b"content-length: 2\r\n\r\nab",
    "a negative length": b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "an endless length": b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: "
    + b"9" * 30
    + b"\r\n\r\n",
    "chunks and a length": b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
    "an unknown coding": b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: x\r\n\r\n",
    "a chunk that overflows": b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
    b"\r\nfffffffffffffffff\r\n",
    "a head without end": b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 700_000,
    "fields without end": b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000,
}


def assert_serves(house: House) -> None:
    """An honest client gets its answer, and nobody is left in a queue or in flight."""
    assert house.ask("a").who == "a"
    until(lambda: house.inside("a") + house.inside("b") == 0, "nothing is in flight")
    assert house.waiting("a") + house.waiting("b") == 0
    assert "Traceback" not in house.words()


def memory_kib(house: House) -> int:
    """Memory of the gateway that is its own, in KiB."""
    assert house.process is not None
    with open(f"/proc/{house.process.pid}/status") as file:  # noqa: PTH123 -- not a path of ours
        found = re.search(r"RssAnon:\s+(\d+)", file.read())
    assert found is not None
    return int(found[1])


def test_bodies_of_every_kind(build: Build) -> None:
    """What names no known model is 404, costs nobody anything, and is never logged as it came."""
    house = build("a", "b").start()
    for what, body in BODIES.items():
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
            answer = house.request("POST", path, body)
            assert answer.status == 404, (what, path, answer)
            assert json.loads(answer.body), what
            assert "x-evil" not in answer.headers
            assert len(answer.body) < 2000, what
    assert house.wakes() == []
    assert_serves(house)
    for line in house.log_path.read_bytes().splitlines():
        assert json.loads(line) and len(line) < 20_000


def test_bytes_of_every_kind(build: Build) -> None:
    """What is not HTTP, or could be read in two ways, is refused, and the connection closed."""
    house = build("a", "b").start()
    for what, data in WIRE.items():
        told = house.raw(data)
        assert re.match(rb"HTTP/1.1 (400|413|431|501) ", told), (what, told[:200])
        assert told.count(b"HTTP/1.1 ") == 1, (what, told)
    assert_serves(house)


def test_noise(build: Build) -> None:
    """Random bytes, and honest requests with some bytes changed, split anywhere."""
    house = build("a", "b").start()
    chance = random.Random(7)
    honest = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 15\r\n\r\n" + b'{"model": "zz"}'
    for number in range(150):
        data = bytearray(chance.randbytes(200) if number % 5 == 0 else honest)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = chance.randrange(len(data))
        with socket.create_connection(("127.0.0.1", house.port), timeout=10) as one:
            one.sendall(data[:cut])
            with contextlib.suppress(OSError):
                one.sendall(data[cut:])
    assert_serves(house)


def test_bodies_above_the_bound(build: Build) -> None:
    """413 at once where the length says so, and while counting where it does not."""
    house = build("a", "b")
    house.extra["bounds"] = {"max_body_bytes": 100_000}
    house.start()
    told = house.raw(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 413 ")
    chunk = b"%x\r\n" % 60_000 + b"x" * 60_000 + b"\r\n"
    head = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert house.raw(head + chunk * 3).startswith(b"HTTP/1.1 413 ")
    assert_serves(house)


def test_slow_senders(build: Build) -> None:
    """Heads and bodies that drip are ended at their bounds, and meanwhile hold up nobody."""
    house = build("a", "b")
    house.extra["bounds"] = {"header_timeout_secs": 1, "body_timeout_secs": 1}
    house.start()
    dripping = []
    for number in range(100):
        one = socket.create_connection(("127.0.0.1", house.port), timeout=20)
        one.sendall(b"POST /v1/x HTTP/1.1\r\nhost: x\r\n")
        if number % 2:
            one.sendall(b"content-length: 1000\r\n\r\n{")
        dripping.append(one)
    assert house.ask("a").who == "a"
    for one in dripping:
        with one, contextlib.suppress(ConnectionResetError):
            while piece := one.recv(4096):
                assert piece.startswith(b"HTTP/1.1 408 ")
    assert_serves(house)


def test_clients_that_leave_at_any_moment(house: House) -> None:
    """A hundred clients hang up while they wait, while a model wakes, or within their answer."""
    house.start()
    chance = random.Random(11)
    honest = [house.send(name, tag=f"honest-{number}") for number, name in enumerate("abcabc")]

    def fickle(name: str, seconds: float) -> None:
        stream = house.open(name, stream=True, words=20, pause=0.05)
        with contextlib.suppress(TimeoutError, OSError):
            stream.socket.settimeout(seconds)
            while stream.socket.recv(4096):
                pass
        stream.leave()

    leaving = [
        threading.Thread(target=fickle, args=(chance.choice("abc"), chance.uniform(0.001, 3)))
        for _ in range(100)
    ]
    for one in leaving:
        one.start()
    for one in leaving:
        one.join()
    assert [one.result(60).who for one in honest] == list("abcabc")
    assert_serves(house)
    house.assert_one_awake()


def test_load_on_three_models(house: House) -> None:
    """No request is lost, each is answered by its model, and two are never up at once."""
    house.start()
    over = time.monotonic() + 6
    told: list[tuple[str, str]] = []
    chance = random.Random(3)

    def work(seed: int) -> None:
        mine = random.Random(seed)
        while time.monotonic() < over:
            name = mine.choice("abc")
            if mine.random() < 0.3:
                stream = house.open(name, stream=True, words=5, pause=0.01)
                text = stream.read_to_end()
                stream.leave()
                told.append((name, name if text.count(f"{name}4 ".encode()) == 1 else repr(text)))
            else:
                told.append((name, house.ask(name).who))

    workers = [threading.Thread(target=work, args=(chance.random(),)) for _ in range(12)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(told) > 20
    assert [pair for pair in told if pair[0] != pair[1]] == []
    house.assert_one_awake()
    assert_serves(house)


def test_ten_thousand_unknown_names(build: Build) -> None:
    """Names that nobody knows leave nothing behind: not in the metrics, not in memory."""
    house = build("a", "b").start()
    before = len(house.metrics())
    with socket.create_connection(("127.0.0.1", house.port), timeout=20) as one:
        answers = one.makefile("rb")
        for number in range(10_000):
            body = b'{"model": "unknown-%d"}' % number
            one.sendall(
                b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            assert answers.readline().startswith(b"HTTP/1.1 404 ")
            length = 0
            while (line := answers.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answers.read(length)
    assert house.metric("llmux_requests_total", model="", status="404") == 10_000
    assert len(house.metrics()) - before < 5_000
    assert_serves(house)


def test_without_descriptors(build: Build) -> None:
    """64 open files and 200 clients: some are refused or wait, and then all is well again."""
    house = build("a", "b")

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    house.start(preexec_fn=few)
    assert house.ask("a").who == "a"
    crowd: list[socket.socket] = []
    for _ in range(200):
        one = socket.socket()
        one.settimeout(2)
        with contextlib.suppress(OSError):
            one.connect(("127.0.0.1", house.port))
            one.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        crowd.append(one)
    for one in crowd:
        one.close()
    until(lambda: _answers(house), "it answers again")
    assert house.ask("b").who == "b", "hooks can be started again"
    assert house.log_path.stat().st_size < 1_000_000
    house.assert_one_awake()


def _answers(house: House) -> bool:
    try:
        return house.get("/health").status == 200
    except OSError:
        return False


def test_a_reader_that_stalls(build: Build) -> None:
    """A client that takes nothing of a long answer costs its own share of memory, not all of it."""
    house = build("a", "b").start()
    assert house.ask("a").who == "a"
    before = memory_kib(house)
    stalled = Stream(
        house.port, house.payload("a", {"stream": True, "words": 300_000}), "/v1/chat/completions"
    )
    stalled.read_until(b"a0 ")
    assert house.ask("a").who == "a"
    until(lambda: house.inside("a") == 1, "the others are done")
    assert memory_kib(house) - before < 32 * 1024
    stalled.leave()
    assert_serves(house)


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, SIGKILL])
def test_a_signal_at_any_moment_of_the_start(build: Build, number: int) -> None:
    """Ended at once, or served and ended; never a traceback of ours, and the next start works."""
    house = build("a")
    for delay in (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.6):
        process = house.launch()
        time.sleep(delay)  # the moment is the point: any will do
        process.send_signal(number)
        code = house.ended()
        said = house.words()
        if "KeyboardInterrupt" in said:  # Python itself had not got as far as to our `main`
            assert not re.search(r'cli/main\.py", line \d+, in main', said), said
        else:
            assert code in {0, 130, -number} or "Aborted!" in said, said
            assert "Traceback" not in said
    house.start()
    assert house.ask("a").who == "a"


def test_kill_9_in_the_middle_of_a_wake(build: Build) -> None:
    """The next gateway does not run into the hook of the one that was killed."""
    house = build("a", "b")
    house.models["a"]["wake"] = house.wake("a", before="sleep 1")
    house.start()
    left = house.send("a")
    house.wait_hook("wake-begin a")
    house.tell(SIGKILL)
    house.ended()
    with pytest.raises((OSError, http.client.HTTPException)):
        left.result(60)
    house.start()
    assert house.ask("b").who == "b"
    assert house.ask("a").who == "a"
    house.assert_one_awake()
