"""A bucket that Google's, gcsfs' and tensorstore's clients can be led to: an emulator, and what it lacks for them."""

import functools
import os
import re
import threading
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.storage import Storage

NAME = "bucket"
_MOVE = r"^/storage/v1/b/(?P<bucket_name>[-.\w]+)/o/(?P<object_id>.+)/moveTo/o/(?P<dest_object_id>.+)$"


@functools.cache
def serve() -> None:
    """Serves gs://bucket, empty at first, to this process and those that it starts, for as long as it lives."""
    storage = Storage(use_memory_fs=True)
    buckets.create_bucket(NAME, storage)
    server.HANDLERS = ((_MOVE, {"POST": _move}), *server.HANDLERS)
    web = _Server(("127.0.0.1", 0), functools.partial(_Handler, storage))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{web.server_port}"
    os.environ |= {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # would ask for the bucket's kind with real credentials
    }


class _Server(ThreadingHTTPServer):
    """The emulator's own server handles one connection at a time: one that a client keeps open holds up all others."""

    def handle_error(self, request, client_address):
        """Clients that were killed are no news."""


class _Handler(server.RequestHandler):
    """Generations, on which tensorstore's atomic writes rest; and one request at a time, for the emulator's storage."""

    _turn = threading.Lock()

    def do_GET(self):  # noqa: N802
        with self._turn:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            self._generation = self._find(url.path, query)
            if query.get("ifGenerationMatch", self._generation) != self._generation:
                self._refuse(HTTPStatus.PRECONDITION_FAILED)
            elif query.get("ifGenerationNotMatch") == self._generation:
                self._refuse(HTTPStatus.NOT_MODIFIED)
            else:
                server.Router(self).handle(self.command)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _find(self, path, query):
        """The generation of the object that a request is about, as its text; "0" where there is none."""
        named = re.search(r"/b/[^/]+/o/([^/]+)$", path)
        try:
            name = unquote(named[1]) if named else query["name"]
            return str(self.storage.get_file_obj(NAME, name)["generation"])
        except (KeyError, NotFound):
            return "0"

    def _refuse(self, status):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def end_headers(self):
        if self.command == "GET":
            self.send_header("x-goog-generation", self._generation)
        super().end_headers()


def _move(request, response, storage):
    """The call that the emulator lacks: renames one object."""
    request.params["dest_bucket_name"] = NAME
    objects.copy(request, response, storage)
    if response.status == HTTPStatus.OK:
        storage.delete_file(NAME, request.params["object_id"])
