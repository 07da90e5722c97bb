"""The doors as an ASGI layer: who is let in, what the app sees of it, and what pages may read."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from llmux.build import build_app
from llmux.config import AuthConfig, KeyConfig, parse_config
from llmux.http.asgi import App, Receive, Scope, Send, SwitchLayer
from llmux.http.asgi_doors import DoorLayer
from llmux.http.asgi_messages import CALLER
from llmux.http.browser import BrowserGate
from llmux.http.doors import Doors
from llmux.http.keys import make_keyring
from llmux.policy import FifoPolicy
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.switcher import ModelSwitcher

PAGE = "https://chat.example.org"
KEY = KeyConfig("sha256", sha256(b"good").hexdigest(), "alice", ("m",))
DOORS = Doors(make_keyring(AuthConfig((KEY,)), Path()), BrowserGate("127.0.0.1", [PAGE]))


class Told:
    """What an app sent for one request."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def fields(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def ask(app: App, path: str, *fields: tuple[str, str], **how: Any) -> Told:
    told = Told()
    body = how.pop("body", b"")
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    if body:
        headers.append((b"content-length", b"%d" % len(body)))
    scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": headers, **how}

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    await app(scope, receive, told.send)
    return told


async def silence() -> Any:
    """A client that says nothing."""
    raise AssertionError("nobody is to listen")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell what came: the names of its fields, and who it is said to be."""
    del receive
    names = [name.decode() for name, _ in scope["headers"]]
    fields = [(b"access-control-allow-origin", b"*"), (b"x-app", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    body = json.dumps([*names, scope[CALLER] and scope[CALLER].name]).encode()
    await send({"type": "http.response.body", "body": body})


async def test_who_has_a_key_comes_in_without_it_and_by_name() -> None:
    app = DoorLayer(echo, DOORS)
    told = await ask(app, "/x", ("Authorization", "Bearer good"), ("x-api-key", "x"), ("x-b", "1"))
    assert (told.status, json.loads(told.body)) == (200, ["x-b", "alice"])
    assert b"access-control-allow-origin" in told.fields, "the app's own word, if it says one"


async def test_who_has_none_never_reaches_the_app() -> None:
    async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the doors are closed")

    app = DoorLayer(nobody, DOORS)
    refused = await ask(app, "/v1/messages", ("x-api-key", "bad"))
    assert refused.status == 401
    assert refused.fields[b"www-authenticate"] == b'Bearer realm="llmux"'
    assert json.loads(refused.body)["error"]["type"] == "authentication_error"
    told = Told()
    socket: Scope = {"type": "websocket", "path": "/x", "headers": []}
    await app(socket, silence, told.send)
    assert told.messages == [{"type": "websocket.close", "code": 1008}]


async def test_pages_are_judged_and_those_allowed_may_read() -> None:
    app = DoorLayer(echo, Doors(None, BrowserGate("127.0.0.1", [PAGE])))
    assert (await ask(app, "/x", ("Origin", "https://evil.example"))).status == 403
    assert (await ask(app, "/x", ("Host", "evil"), ("Sec-Fetch-Site", "same-origin"))).status == 403
    allowed = await ask(app, "/x", ("Origin", PAGE))
    assert allowed.fields[b"access-control-allow-origin"] == PAGE.encode()
    assert allowed.fields[b"x-app"] == b"1"
    asked = (("Origin", PAGE), ("Access-Control-Request-Method", "POST"))
    preflight = await ask(app, "/x", *asked, method="OPTIONS")
    assert (preflight.status, preflight.body) == (204, b"")
    assert b"POST" in preflight.fields[b"access-control-allow-methods"]


async def test_a_layer_around_another_app_holds_a_key_to_its_models() -> None:
    """A model of the other app's is none of the key's business, and not of the key's models."""
    runner = HookRunner([HookSpec("m", 1, "exit 1", "true"), HookSpec("n", 2, "exit 1", "true")])
    app = DoorLayer(SwitchLayer(echo, ModelSwitcher(runner, FifoPolicy())), DOORS)
    key = ("x-api-key", "good")
    for model in ("n", "elsewhere"):
        refused = await ask(
            app, "/v1/x", key, method="POST", body=b'{"model": "%b"}' % model.encode()
        )
        assert refused.status == 403
    assert (await ask(app, "/v1/x", key)).status == 200


async def test_the_built_app_keeps_its_own_routes_behind_the_same_doors(tmp_path: Path) -> None:
    text = (
        "models: {m: {port: 1, wake: x, sleep: y}, n: {port: 2, wake: x, sleep: y}}\n"
        "auth: {keys: [{text: good, models: [m]}], admin_keys: [root]}\nstate: off\n"
    )
    app, _ = build_app(parse_config(text, tmp_path / "config.yaml").config)
    good, root = ("Authorization", "Bearer good"), ("x-api-key", "root")
    assert (await ask(app, "/health")).status == 200
    assert (await ask(app, "/v1/models")).status == 401
    listed = await ask(app, "/v1/models", good)
    assert [one["id"] for one in json.loads(listed.body)["data"]] == ["m"]
    assert listed.fields[b"x-content-type-options"] == b"nosniff"
    assert (await ask(app, "/v1/models/n", good)).status == 403
    assert [(await ask(app, "/metrics", key)).status for key in (good, root)] == [403, 200]
    stranger, insider = await ask(app, "/ready"), await ask(app, "/ready", good)
    assert stranger.status == insider.status == 503
    assert json.loads(stranger.body) == {"status": "not ready"}
    assert json.loads(insider.body)["problems"]
