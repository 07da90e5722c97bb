"""A real browser, driven over a pair of pipes: Chromium's own protocol, without a driver between.

What happens in a tab is written down: what it asked for on the network, and each line of its
console. It refuses to know what is looked at.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PATIENCE = 60.0
"""Seconds that an answer of the browser may take on a busy machine."""
_PLUMB = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)
"""Puts the pipes where Chromium looks for them."""


class Browser:
    """A Chromium without a window; `call` asks it for something."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method and return its result."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        if session:
            asked["sessionId"] = session
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE
        while True:
            said = self._read(deadline)
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                result: dict[str, Any] = said["result"]
                return result
            self.events.append(said)

    def wait(self, method: str, session: str) -> None:
        """Wait until an event of this name has come; those from before count as well."""
        deadline = time.monotonic() + _PATIENCE
        while not any(
            one.get("method") == method and one.get("sessionId") == session for one in self.events
        ):
            self.events.append(self._read(deadline))

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            more = os.read(self._back, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        text, self._rest = self._rest.split(b"\0", 1)
        said: dict[str, Any] = json.loads(text)
        return said


class Tab:
    """One page in a browser, of a width and in a colour scheme."""

    def __init__(self, browser: Browser, page: Path, width: int, height: int, scheme: str) -> None:
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session: str = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)
        self.url = page.as_uri()
        self._call("Page.navigate", url=self.url)
        browser.wait("Page.loadEventFired", self._session)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def ask(self, script: str) -> Any:
        """Return what an expression of JavaScript is worth in the page."""
        said = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def requested(self) -> list[str]:
        """Return each address that the page asked for."""
        return [one["request"]["url"] for one in self._told("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Return what stands in the console, and what was thrown."""
        entries = [one["entry"]["text"] for one in self._told("Log.entryAdded")]
        said = [*self._told("Runtime.consoleAPICalled"), *self._told("Runtime.exceptionThrown")]
        return entries + [json.dumps(one) for one in said]

    def _told(self, method: str) -> list[dict[str, Any]]:
        return [
            one["params"]
            for one in self._browser.events
            if one.get("method") == method and one.get("sessionId") == self._session
        ]

    def look(self, to: Path) -> None:
        """Write a picture of the whole page (PNG)."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self._call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1}
        )
        to.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Leave the page."""
        self._call("Page.close")


@contextmanager
def browsing(chromium: str, folder: Path) -> Iterator[Browser]:
    """Run a browser with an empty profile in a folder, and end it."""
    there, to = os.pipe()
    back, here = os.pipe()
    command = [
        *(chromium, "--headless", "--remote-debugging-pipe", f"--user-data-dir={folder}"),
        *("--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--no-default-browser-check", "--hide-scrollbars", "--mute-audio"),
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),
    ]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _PLUMB, str(there), str(here), *command],
            pass_fds=(there, here),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    os.close(there)
    os.close(here)
    try:
        yield Browser(to, back)
    finally:
        os.close(to)  # Chromium ends when its pipe does
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(back)
