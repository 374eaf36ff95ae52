"""Uploads to a hub on this machine, and what is read of a model's card."""

import base64
import http.server
import json
import threading

import huggingface_hub
import pytest
from huggingface_hub import constants

from soar_jax.checkpoints import hub
from soar_jax.errors import SettingsError

FILES = {"config.json": b"{}\n", "README.md": b"---\nlicense: mit\n---\n# x\n"}


class Hub(http.server.BaseHTTPRequestHandler):
    """Enough of the hub's API to take a commit; remembers it."""

    status = 200
    commits: list = []  # noqa: RUF012 (replaced for each test)
    created: list = []  # noqa: RUF012

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer, page = {}, f"http://{self.headers['Host']}/me/tiny"
        if self.path.endswith("/api/repos/create"):
            self.created.append((self.headers["Authorization"], json.loads(body)))
            answer = {"url": page}
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        elif "/commit/" in self.path:
            self.commits.append([json.loads(line) for line in body.splitlines()])
            answer = {
                "success": True,
                "commitOid": "c" * 40,
                "commitUrl": f"{page}/commit/c",
                "hookOutput": "",
            }
        self.answer(answer)

    def do_GET(self):
        self.answer({"sha": "a" * 40, "id": "me/tiny", "siblings": [], "tags": [], "private": False})

    def answer(self, found):
        content = json.dumps(found if self.status == 200 else {"error": "no"}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A hub that this process has a token for."""
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    for name, value in {"status": 200, "commits": [], "created": []}.items():
        monkeypatch.setattr(Hub, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_mine")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{found.server_port}")
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("private", [True, False])
def test_all_files_arrive(server, folder, private):
    assert hub.upload(folder, "me/tiny", private).endswith("/me/tiny")
    ((token, wanted),) = Hub.created
    assert token == "Bearer hf_secret_of_mine"
    assert wanted.get("private", wanted.get("visibility", "") == "private") in ((True,) if private else (False, None))
    (commit,) = Hub.commits
    sent = {row["value"]["path"]: base64.b64decode(row["value"]["content"]) for row in commit if row["key"] == "file"}
    assert sent == FILES


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_line_and_the_folder_stays(server, folder, status, monkeypatch):
    monkeypatch.setattr(Hub, "status", status)
    with pytest.raises(SettingsError, match=rf"^cannot push to me/tiny \(\w+, HTTP {status}\); check") as refused:
        hub.upload(folder, "me/tiny", private=False)
    assert f"push it again with: hf upload me/tiny {folder}" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_without_a_token_nothing_is_asked(server, folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(SettingsError, match="the hub wants a token"):
        hub.upload(folder, "me/tiny", private=False)
    assert Hub.created == []


def test_the_front_matter_of_a_card_is_read(folder):
    assert hub.card_data(str(folder))["license"] == "mit"


@pytest.mark.parametrize("card", [None, "", "# no front matter", "---\n[1, 2\n---\n", "---\n- 1\n---\n", "---\n\xff"])
def test_a_card_that_is_none_has_no_data(tmp_path, card):
    if card is not None:
        (tmp_path / "README.md").write_bytes(card.encode("latin-1"))
    assert hub.card_data(str(tmp_path)) == {}
