"""A headless Chromium that a test steers through its DevTools pipe; needs no package."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of a browser.

    Args:
        reading: Where Chromium's answers come from.
        writing: Where commands go.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._writing = os.fdopen(writing, "wb", buffering=0)
        self._pending = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")

    def open(self, path: Path, width: int = 1250, height: int = 900, dark: bool = False) -> None:
        """Open a file and wait until it is there."""
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])
        self._send("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + 30
        while self.run("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def hover(self, element: str) -> None:
        """Move the pointer to the middle of what an expression evaluates to."""
        self._mouse("mouseMoved", element)

    def click(self, element: str) -> None:
        """Click on it."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._mouse(kind, element)

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self._send("Browser.close")
        self._reading.close()
        self._writing.close()

    def _mouse(self, kind: str, element: str) -> None:
        x, y = self.run(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._writing.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._pending:
                received = self._reading.read(1 << 16)
                assert received, "Chromium has ended"
                self._pending += received
            text, _, self._pending = self._pending.partition(b"\0")
            answer: dict[str, Any] = json.loads(text)
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(answer["params"]))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile; it ends with the block."""
    assert CHROMIUM is not None
    to_chromium, from_chromium = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            'exec "$@" 3<&"$READING" 4>&"$WRITING"',
            "bash",
            CHROMIUM,
            *_FLAGS,
            f"--user-data-dir={profile}",
        ],
        pass_fds=(to_chromium[0], from_chromium[1]),
        env=os.environ | {"READING": str(to_chromium[0]), "WRITING": str(from_chromium[1])},
        stderr=subprocess.DEVNULL,
    )
    os.close(to_chromium[0])
    os.close(from_chromium[1])
    try:
        page = Browser(from_chromium[0], to_chromium[1])
        yield page
        page.close()
        process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
