"""Serves the report of running runs on the loopback address."""

from __future__ import annotations

import contextlib
import http
import http.server
import pathlib
import threading
from collections.abc import Sequence

from soar_jax.errors import SettingsError
from soar_jax.report.page import live_page
from soar_jax.report.read import find_workdirs

WATCHED = ("config.json", "metrics.jsonl", "summary.json", "results")
HOSTS = ("127.0.0.1", "localhost", "[::1]")


def serve(folders: Sequence[pathlib.Path], port: int) -> None:
    """Serves the page until Ctrl-C; rebuilds it when a run has progressed.

    Raises:
      SettingsError: the port is taken, or a folder has no run.
    """
    live_page(folders, version(folders))  # fails early if a folder is unusable
    server = make_server(folders, port)
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()


def make_server(folders: Sequence[pathlib.Path], port: int) -> http.server.ThreadingHTTPServer:
    """Makes a server on loopback, not yet running; port 0 takes any free one.

    Raises:
      SettingsError: the port is taken.
    """
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(folders))
    except OSError as error:
        raise SettingsError(f"cannot serve on port {port}: {error.strerror}; choose another --port") from None


def version(folders: Sequence[pathlib.Path]) -> str:
    """A string that changes whenever a run in the folders progresses."""
    times = []
    for path in (workdir / name for folder in folders for workdir in find_workdirs(folder) for name in WATCHED):
        with contextlib.suppress(OSError):  # does not exist, or was just removed
            times.append(path.stat().st_mtime_ns)
    return f"{len(times)}-{max(times, default=0)}"


def _handler(folders: Sequence[pathlib.Path]) -> type[http.server.BaseHTTPRequestHandler]:
    lock = threading.Lock()
    cached: dict[str, bytes] = {}  # the newest page, by version

    def page() -> bytes:
        with lock:
            now = version(folders)
            if now not in cached:
                fresh = live_page(folders, now).encode()
                cached.clear()
                cached[now] = fresh
            return cached[now]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").rpartition(":")[0] not in HOSTS:  # DNS rebinding from another site
                self.send_error(http.HTTPStatus.FORBIDDEN)
            elif self.path == "/":
                try:
                    self._answer(page(), "text/html; charset=utf-8")
                except SettingsError as error:  # the folders were removed
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
