"""Chromium without a window, driven by the DevTools protocol over a pipe: JSON messages that end with a zero byte, in on descriptor 3, out on 4."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

#: seconds that an answer may take
PATIENCE = 60.0
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """Path of a browser: FLIGHTLLM_BROWSER, or the first that is installed."""
    named = os.environ.get("FLIGHTLLM_BROWSER")
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """One page. Context manager.

    Attributes:
        requests: addresses that the page has asked for. troubles: what it wrote to the console, and errors.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self.requests: list[str] = []
        self.troubles: list[str] = []
        self._number = 0
        self._received = b""

    def __enter__(self) -> Self:
        self._profile = tempfile.mkdtemp(prefix="flightllm-browser-")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # the browser's own traffic (updates, accounts) is off; the sandbox does not work for root and in containers
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={self._profile}",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--hide-scrollbars", "about:blank",
        ]  # fmt: skip

        def descriptors() -> None:
            # first out of the way: they may be 3 and 4 themselves
            to, back = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(to, 3)
            os.dup2(back, 4)

        self._process = subprocess.Popen(
            [self._program, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=descriptors,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        target = self._call("Target.createTarget", {"url": "about:blank"}, session=False)["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session=False)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self._call("Browser.close", session=False)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    # --- what tests use
    def open(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load a file, and wait until its scripts have run."""
        self.requests.clear()
        self.troubles.clear()
        self.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._loaded = False
        self._call("Page.navigate", {"url": path.resolve().as_uri()})
        end = time.monotonic() + PATIENCE
        while not self._loaded:
            self._receive(end)
        self.frames()

    def frames(self) -> None:
        """Wait until two frames have been drawn: what observers of sizes do is done then."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def size(self, width: int, height: int) -> None:
        """Of the window, in px."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", values)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self._call("Runtime.evaluate", given)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """What is shown in the elements of a CSS selector, white space made single."""
        found = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText ?? e.textContent)"
        )
        return [" ".join(str(text).split()) for text in found]

    def click(self, selector: str, index: int = 0) -> None:
        """Click the middle of an element."""
        x, y = self._middle(selector, index)
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def point(self, selector: str, index: int = 0) -> None:
        """Move the mouse to the middle of an element."""
        x, y = self._middle(selector, index)
        self._call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def _middle(self, selector: str, index: int) -> tuple[float, float]:
        place = f"document.querySelectorAll({json.dumps(selector)})[{index}]"
        self.run(f"{place}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        self.frames()  # who listens to scrolling has heard of it
        box = self.run(f"{place}.getBoundingClientRect().toJSON()")
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def picture(self, path: Path, whole: bool = True) -> None:
        """A PNG of the page."""
        given = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            given["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", given)["data"]))

    # --- the protocol
    def _call(self, method: str, params: dict[str, Any] | None = None, session: bool = True) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _receive(self, end: float) -> dict[str, Any]:
        """The next message; events are noted."""
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._in, 1 << 16) if ready else b""
            if not data:
                raise AssertionError(f"the browser ({self._program}) does not answer")
            self._received += data
        line, self._received = self._received.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.consoleAPICalled":
            self.troubles.append(f"console.{params['type']}: {[a.get('value') for a in params['args']]}")
        elif event == "Runtime.exceptionThrown":
            self.troubles.append(str(params["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.troubles.append(params["entry"]["text"])
