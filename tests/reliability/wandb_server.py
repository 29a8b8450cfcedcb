"""A stand-in for W&B's server: it takes a run, forbids it, says nothing, or is not there."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PROJECT = {"id": "p", "name": "guidance", "entity": {"id": "e", "name": "me"}}
_RUN = {"id": "r", "name": "r1", "displayName": "r1", "project": _PROJECT, "historyLineCount": 0}
_VIEWER = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}


class WandbServer(ThreadingHTTPServer):
    """Answers on a port of this machine.

    Args:
        behaviour: ``takes`` answers what the client needs to start a run; ``forbids`` with status 403;
            ``hangs`` takes the question and does not answer.
    """

    daemon_threads = True

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        """Be gone: from now on connections are refused."""
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        if self.server.behaviour == "hangs":
            self.server.closing.wait()
            return
        data: dict[str, object] = {}
        if "upsertBucket" in asked:
            data = {"upsertBucket": {"bucket": _RUN, "inserted": True}}
        elif "viewer" in asked:
            data = {"viewer": _VIEWER}
        answer = json.dumps({"data": data}).encode()
        self.send_response(403 if self.server.behaviour == "forbids" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST  # noqa: N815 - the names that the library looks for

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def wandb_server(behaviour: str) -> Iterator[WandbServer]:
    """Run a server; ``refuses`` is one that is already gone."""
    server = WandbServer("takes" if behaviour == "refuses" else behaviour)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        if behaviour == "refuses":
            server.stop()
        yield server
    finally:
        if not server.closing.is_set():
            server.stop()
