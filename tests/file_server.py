"""A local server of files that knows ranges and can be told to fail."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FileServer(http.server.ThreadingHTTPServer):
    """Serves ``files`` (name -> content).

    Attributes:
        ranges: Whether it knows ranges; if not, it always sends the whole file.
        drops: For each coming answer, after how many bytes the connection breaks; then none does.
        states: HTTP states of the coming answers, instead of the file; None for the file.
        shift: Added to the start of every range, as a broken server may.
        chunked: Whether the length is not told.
        location: Where to redirect to.
        asked: The ``Range`` of each request, "" without one.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.drops: list[int] = []
        self.states: list[int | None] = []
        self.shift = 0
        self.chunked = False
        self.location = ""
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where a client goes away, or is dropped."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range", "")
        server.asked.append(wanted)
        content = server.files.get(self.path[1:])
        state = server.states.pop(0) if server.states else None
        if server.location:
            self.send_response(302)
            self.send_header("Location", server.location)
            self.end_headers()
            return
        if state is not None or content is None:
            self.send_error(state or 404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else None
        if start is not None and start >= len(content):
            self.send_error(416)
            return
        if start is None:
            self.send_response(200)
        else:
            start += server.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start or 0 :]
        if not server.chunked:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.drops.pop(0)] if server.drops else body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[FileServer]:
    """Run a server in a thread."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
