"""The report of runs under way, on this machine's loopback address."""

from __future__ import annotations

import contextlib
import http
import http.server
import pathlib
import threading
from collections.abc import Sequence

from soar_jax.report.page import live_page
from soar_jax.report.read import workdirs
from soar_jax.settings import SettingsError

WATCHED = ("config.json", "metrics.jsonl", "summary.json", "results")
HOSTS = ("127.0.0.1", "localhost", "[::1]")


def serve(folders: Sequence[pathlib.Path], port: int) -> None:
    """Serves the page until the program is told to stop; made again when a run has got further.

    Raises:
      SettingsError: the port is taken, or a folder holds no run.
    """
    live_page(folders, version(folders))  # what is wrong with the folders is said now
    server = make_server(folders, port)
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()


def make_server(folders: Sequence[pathlib.Path], port: int) -> http.server.ThreadingHTTPServer:
    """A server on loopback that does not run yet; port 0 takes any free one.

    Raises:
      SettingsError: the port is taken.
    """
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(folders))
    except OSError as error:
        raise SettingsError(f"cannot serve on port {port}: {error.strerror}; choose another --port") from None


def version(folders: Sequence[pathlib.Path]) -> str:
    """Changes whenever a run in the folders has got further."""
    times = []
    for path in (workdir / name for folder in folders for workdir in workdirs(folder) for name in WATCHED):
        with contextlib.suppress(OSError):  # not there, or not any more
            times.append(path.stat().st_mtime_ns)
    return f"{len(times)}-{max(times, default=0)}"


def _handler(folders: Sequence[pathlib.Path]) -> type[http.server.BaseHTTPRequestHandler]:
    lock = threading.Lock()
    made: dict[str, bytes] = {}  # the newest page by its version

    def page() -> bytes:
        with lock:
            now = version(folders)
            if now not in made:
                fresh = live_page(folders, now).encode()
                made.clear()
                made[now] = fresh
            return made[now]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").rpartition(":")[0] not in HOSTS:  # a page elsewhere that points here
                self.send_error(http.HTTPStatus.FORBIDDEN)
            elif self.path == "/":
                try:
                    self._answer(page(), "text/html; charset=utf-8")
                except SettingsError as error:  # the folders have gone
                    self.send_error(http.HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            elif self.path == "/version":
                self._answer(version(folders).encode(), "text/plain")
            else:
                self.send_error(http.HTTPStatus.NOT_FOUND)

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
