"""The browser gate as a table: who is behind a request, and whether it passes."""

from __future__ import annotations

import pytest

from llmux.http.browser import BrowserGate, parse_origin

GATE = BrowserGate("192.168.1.5", ["https://chat.example.org", "app://notes", "http://lab:8080"])
WIDE = BrowserGate("0.0.0.0", ["https://llm.example.org"])
HERE = "127.0.0.1:3000"


def passes(
    host: str = HERE, *, changes: bool = True, gate: BrowserGate = GATE, **signs: str
) -> bool:
    told = [(name.replace("_", "-").encode(), value) for name, value in signs.items()]
    return gate.judge(host, told, changes=changes).passes


@pytest.mark.parametrize("host", [HERE, "gateway", "evil.example", "llmux:3000", ""])
def test_without_a_sign_of_a_browser_any_name_will_do(host: str) -> None:
    """Containers and scripts call by whatever name they have."""
    assert passes(host)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:5173",
        "https://LOCALHOST:1",
        "http://app.localhost",
        "http://127.0.0.1:3000",
        "http://127.8.9.1",
        "http://[::1]:3000",
        "http://192.168.1.5",
        "https://192.168.1.5:8443",
        "https://chat.example.org",
        "https://chat.example.org:443",
        "https://CHAT.example.org",
        "app://notes",
        "http://lab:8080",
    ],
)
def test_pages_of_this_machine_of_the_host_and_of_the_list_may_call(origin: str) -> None:
    assert passes(origin=origin)
    assert passes("evil.example", origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil.example:3000",
        "http://0.0.0.0:3000",
        "http://192.168.1.6",
        "http://chat.example.org",
        "https://chat.example.org:8443",
        "https://chat.example.org.evil.example",
        "https://evilchat.example.org",
        "http://lab",
        "app://localhost",
        "file://",
        "http://localhost@evil.example",
        "http://localhost/ http://evil.example",
        "localhost",
        "http://local\xffhost",
    ],
)
def test_pages_of_strangers_may_not(origin: str) -> None:
    """Neither by a name that looks alike, nor under a name bound to this address anew."""
    assert not passes(origin=origin)
    assert not passes(changes=False, origin=origin)
    if parsed := parse_origin(origin):
        assert not passes(f"{parsed.host}:3000", origin=origin) or parsed.host == "localhost"


def test_two_origins_are_none() -> None:
    signs = [(b"origin", "http://localhost"), (b"origin", "http://localhost")]
    assert not GATE.judge(HERE, signs, changes=False).passes


@pytest.mark.parametrize("host", [HERE, "localhost", "[::1]:3000", "192.168.1.5:3000", "lab:8080"])
def test_a_page_of_ours_without_an_origin_is_known_by_the_name_it_called(host: str) -> None:
    assert passes(host, sec_fetch_site="same-origin")
    assert passes(host, sec_fetch_site="none")
    assert passes(host, sec_fetch_site="same-origin", referer=f"http://{host}/page?x")
    assert passes(host, referer=f"http://{host}/page")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3000", "localhost.evil", "0.0.0.0", "", "a b"]
)
def test_a_name_bound_anew_is_refused_even_for_reading(host: str) -> None:
    assert not passes(host, changes=False, sec_fetch_site="same-origin")
    assert not passes(host, changes=False, referer=f"http://{host}/")


def test_reading_across_pages_is_harmless_but_doing_is_not() -> None:
    """A link on a wiki may lead to a page of ours; an image in it may not wake a model."""
    for signs in (
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site", "referer": "https://wiki.example/page"},
        {"referer": "https://wiki.example/page"},
        {"referer": "nonsense"},
    ):
        told = [(name.replace("_", "-").encode(), value) for name, value in signs.items()]
        assert GATE.judge(HERE, told, changes=False).passes
        assert not GATE.judge(HERE, told, changes=True).passes
    assert passes(sec_fetch_site="cross-site", referer="https://chat.example.org/room")
    assert passes(sec_fetch_site="same-site", referer="http://localhost:5173/")
    assert passes(sec_fetch_site="same-site")
    assert not passes("192.168.1.5", sec_fetch_site="same-site")


def test_on_all_addresses_only_a_page_called_by_address_is_ours() -> None:
    """An address cannot be bound to another machine; a name can."""
    assert passes("10.0.0.7:3000", gate=WIDE, origin="http://10.0.0.7:3000")
    assert passes("10.0.0.7:3000", gate=WIDE, sec_fetch_site="same-origin")
    assert passes("llm.example.org", gate=WIDE, origin="https://llm.example.org")
    assert passes("llm.example.org", gate=WIDE, sec_fetch_site="same-origin")
    assert not passes("10.0.0.7:3000", gate=WIDE, origin="http://10.0.0.8:3000")
    assert not passes("10.0.0.7:3000", gate=WIDE, origin="http://10.0.0.7:8000")
    assert not passes("evil.example", gate=WIDE, origin="http://evil.example")
    assert not passes("evil.example", gate=WIDE, sec_fetch_site="same-origin")


def test_only_a_listed_page_may_read_what_it_gets() -> None:
    def allowed(origin: str) -> str | None:
        return GATE.judge(HERE, [(b"origin", origin)], changes=True).allow

    assert allowed("https://chat.example.org") == "https://chat.example.org"
    assert allowed("http://localhost:5173") is None
    assert allowed("http://evil.example") is None
