"""The doors as those before and behind them meet them: real clients, key files, HTTPS, hooks."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.conftest import Need
from tests.e2e.conftest import Build
from tests.e2e.house import MARK, House, until

HELLO: Any = [{"role": "user", "content": "who are you?"}]


def client(house: House, key: str) -> openai.OpenAI:
    base = f"http://127.0.0.1:{house.port}/v1"
    return openai.OpenAI(base_url=base, api_key=key, max_retries=0, timeout=30.0)


def anthropic_client(house: House, **how: Any) -> anthropic.Anthropic:
    base = f"http://127.0.0.1:{house.port}"
    return anthropic.Anthropic(base_url=base, max_retries=0, timeout=30.0, **how)


def seen_by_backend(text: str) -> dict[str, str]:
    """The fields that the backend says it was sent."""
    return {name.lower(): value for name, value in json.loads(text)["fields"]}


def bearer(key: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_the_clients_people_use_hear_that_their_key_is_wrong(house: House) -> None:
    house.extra["auth"] = {"keys": ["sk-good"]}
    house.start()
    with pytest.raises(openai.AuthenticationError) as told:
        client(house, "sk-bad").chat.completions.create(model="a", messages=HELLO)
    assert told.value.code == "invalid_api_key"
    assert "not known here" in told.value.message
    with pytest.raises(anthropic.AuthenticationError) as heard:
        anthropic_client(house, api_key="sk-bad").messages.create(
            model="a", messages=HELLO, max_tokens=5
        )
    assert isinstance(heard.value.body, dict)
    assert heard.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(openai.AuthenticationError):
        client(house, "sk-bad").models.list()
    assert house.hooks() == [], "nobody woke a model"


def test_a_key_lets_them_in_and_never_reaches_the_backend(house: House) -> None:
    """Whichever field the client sends it in."""
    house.extra["auth"] = {"keys": [{"sha256": sha256(b"sk-good").hexdigest(), "name": "alice"}]}
    house.start()
    told = client(house, "sk-good").chat.completions.with_raw_response.create(
        model="a", messages=HELLO
    )
    answers = [told.http_response.read().decode()]
    for how in ({"api_key": "sk-good"}, {"auth_token": "sk-good"}):
        heard = anthropic_client(house, **how).messages.with_raw_response.create(
            model="a", messages=HELLO, max_tokens=5
        )
        answers.append(heard.http_response.read().decode())
    for answer in answers:
        fields = seen_by_backend(answer)
        assert not fields.keys() & {"authorization", "x-api-key"}
        assert "sk-good" not in answer
        assert "user-agent" in fields
    assert [model.id for model in client(house, "sk-good").models.list()] == ["a", "b", "c"]
    assert "sk-good" not in house.words()


def test_a_key_for_some_models_is_told_of_and_admitted_to_no_other(house: House) -> None:
    house.extra["auth"] = {"keys": [{"text": "sk-a", "models": ["a"]}], "admin_keys": ["sk-root"]}
    house.start()
    mine = client(house, "sk-a")
    assert mine.chat.completions.create(model="a", messages=HELLO).choices
    for model in ("b", "never-heard-of"):
        with pytest.raises(openai.PermissionDeniedError):
            mine.chat.completions.create(model=model, messages=HELLO)
    assert [model.id for model in mine.models.list()] == ["a"]
    assert house.wakes() == ["a"]
    assert house.request("GET", "/metrics", None, bearer("sk-a")).status == 403
    metrics = house.request("GET", "/metrics", None, bearer("sk-root"))
    assert 'llmux_requests_total{model="",status="403"} 3' in metrics.body.decode()
    assert "sk-" not in metrics.body.decode() + house.words()


def test_a_key_file_is_replaced_while_the_gateway_runs(house: House) -> None:
    """The new key works and the old one ends; without the file the last one stays in force."""
    file = house.folder / "alice.key"
    file.write_text("first\n")
    house.extra["auth"] = {"keys": [{"file": "alice.key", "name": "alice"}]}
    house.start()

    def status(key: str) -> int:
        return house.ask("a", headers=bearer(key)).status

    assert (status("first"), status("second")) == (200, 401)
    (house.folder / "new").write_text("second\n")
    (house.folder / "new").replace(file)
    until(lambda: status("second") == 200, "the new key opens")
    assert status("first") == 401
    assert house.logged("key_changed")[0]["file"] == str(file)
    file.unlink()
    house.logged("key_unreadable", file=str(file))
    assert status("second") == 200
    file.write_text("third")
    until(lambda: status("third") == 200, "the file is there again")
    assert house.wakes() == ["a"]


def test_no_hook_sees_what_is_a_secret(build: Build) -> None:
    """Neither by inheritance, nor in a probe; what is not a secret stays."""
    house = build("a")
    note = f"env >> '{house.folder}/seen.env'"
    house.models["a"]["wake"] = f"{note}\n{house.wake('a')}"
    house.models["a"]["alive"] = note
    house.extra["auth"] = {"keys": [{"env": "LLMUX_API_KEY"}], "admin_keys": [{"env": "ROOT_KEY"}]}
    house.start(env={"LLMUX_API_KEY": "s3cret-1", "ROOT_KEY": "s3cret-2", "MINE": "mine"})
    assert house.ask("a", headers=bearer("s3cret-1")).status == 200
    assert house.ask("a", headers=bearer("s3cret-2")).status == 200
    text = (house.folder / "seen.env").read_text()
    for line in ("MINE=mine", "LLMUX_MODEL=a", f"{MARK}={house.folder}"):
        assert line in text
    assert "s3cret" not in text
    assert "ROOT_KEY" not in text
    assert "s3cret" not in house.words()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"auth": {"keys": [{"env": "NOT_SET_AT_ALL"}]}}, "`auth.keys.0` reads the variable"),
        ({"auth": {"admin_keys": [{"file": "nowhere"}]}}, "`auth.admin_keys.0` reads the file"),
        ({"auth": {"keyz": ["s3cret"]}}, "`keyz` is not a key of `auth`; did you mean `keys`?"),
        ({"tls": {"cert": "nowhere.pem", "key": "nowhere.pem"}}, "`tls.cert` reads"),
    ],
)
def test_a_door_that_cannot_be_closed_ends_the_start(
    house: House, more: dict[str, Any], told: str
) -> None:
    house.extra |= more
    house.launch()
    assert house.ended() == 2
    [line] = house.words().strip().splitlines()
    assert line.startswith(f"{house.folder}/config.yaml:1:")
    assert told in line
    assert "s3cret" not in line


def test_a_wide_open_door_is_told_of_and_a_key_ends_the_warning(house: House) -> None:
    house.extra["host"] = "0.0.0.0"
    house.start()
    assert "there are no keys" in str(house.logged("config_notice"))
    house.stop()
    house.extra["auth"] = {"keys": ["k"]}
    house.write()
    house.start()
    assert "there are no keys" not in str(house.logged("config_notice"))


def test_an_upload_without_a_key_is_refused_and_the_refusal_can_be_read(house: House) -> None:
    """Although the client sends all of its 100 MB before it reads."""
    house.extra["auth"] = {"keys": ["k"]}
    house.start()
    answer = house.request("POST", "/v1/x", bytes(100_000_000))
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    head = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n"
    assert house.raw(head).startswith(b"HTTP/1.1 401 ")


def test_a_strangers_page_wakes_nothing_and_a_friends_page_reads_the_answer(house: House) -> None:
    friend = "https://chat.example.org"
    house.extra["auth"] = {"allowed_origins": [friend]}
    house.start()
    for fields in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://evil.example:3000", "Host": "evil.example:3000"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        answer = house.ask("a", headers=fields)
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
    assert house.wakes() == []
    rebound = {"Host": "evil.example", "Sec-Fetch-Site": "same-origin"}
    assert house.request("GET", "/metrics", None, rebound).status == 403
    read = house.ask("a", headers={"Origin": friend})
    assert (read.status, read.headers["access-control-allow-origin"]) == (200, friend)


def certificate(openssl: str, folder: Path) -> None:
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)


def test_https_with_a_real_client_that_streams_and_leaves(house: House, need: Need) -> None:
    certificate(need("openssl"), house.folder)
    house.extra["tls"] = {"cert": "cert.pem", "key": "key.pem"}
    house.extra["auth"] = {"keys": ["k"]}
    trust = ssl.create_default_context(cafile=str(house.folder / "cert.pem"))
    house.launch()
    [started] = house.logged("gateway_started")
    assert started["url"] == f"https://127.0.0.1:{house.port}/v1"
    caller = openai.OpenAI(
        base_url=str(started["url"]),
        api_key="k",
        http_client=openai.DefaultHttpxClient(verify=trust),
    )
    stream = caller.chat.completions.create(
        model="a",
        messages=HELLO,
        stream=True,
        extra_body={"words": 2, "hold_rest": "go", "tag": "t"},
    )
    words = iter(stream)
    assert next(words).choices[0].delta.content == "a0 "
    house.release("go")
    assert next(words).choices[0].delta.content == "a1 "
    assert list(words) == []
    left = caller.chat.completions.create(
        model="a", messages=HELLO, stream=True, extra_body={"hold_rest": "never", "tag": "left"}
    )
    next(iter(left))
    left.close()
    house.wait_seen("a gone left")
    plain = http.client.HTTPConnection("127.0.0.1", house.port, timeout=10)
    with pytest.raises((http.client.HTTPException, OSError)):
        plain.request("GET", "/health")
        plain.getresponse()
    caller.close()
    assert house.stop() == 0
