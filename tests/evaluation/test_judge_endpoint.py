"""EndpointJudge against a chat-completions server on loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from soar_jax.errors import SettingsError
from soar_jax.evaluation.judge_endpoint import EndpointJudge, parse_verdict
from soar_jax.evaluation.quality import UNKNOWN, Judgement
from soar_jax.types import QuestionAnswer

GOOD = QuestionAnswer(question="what is 1 + 1 ?", answer="2")
WRONG = QuestionAnswer(question="what is 1 + 2 ?", answer="5")
SILENT = QuestionAnswer(question="silent", answer="0")
REFUSED = QuestionAnswer(question="refused", answer="0")


def reply_to(answer):
    right = answer == "2"
    error_class = "none" if right else "arithmetic"
    return {"well_posed": True, "right": right, "error_class": error_class, "verified_answer": "2" if right else "3"}


@pytest.fixture
def endpoint(monkeypatch):
    """Starts a chat endpoint; returns the list of questions it received."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pair = json.loads(body["messages"][-1]["content"])
            received.append(pair["question"])
            if pair["question"] == REFUSED.question:
                self.send_error(400)
                return
            verdict = json.dumps(reply_to(pair["answer"]))
            text = "I do not know" if pair["question"] == SILENT.question else f"thinking…\n{verdict}"
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            data = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    yield received
    server.shutdown()
    server.server_close()


def test_verdicts_are_cached_and_failures_counted(endpoint, tmp_path):
    pytest.importorskip("openai")
    cache = tmp_path / "cache.jsonl"
    shown = []
    judge = EndpointJudge("m", cache, show_progress=lambda *progress: shown.append(progress))
    expected = [
        Judgement(**reply_to("2")),
        Judgement(**reply_to("5")),
        UNKNOWN,
        UNKNOWN,
        Judgement(**reply_to("2")),
    ]
    assert judge.judge([GOOD, WRONG, SILENT, REFUSED, GOOD]) == expected
    assert judge.num_failures == 2
    assert shown == [("questions", number, 4, "") for number in (1, 2, 3, 4)]
    assert sorted(endpoint) == sorted(pair.question for pair in (GOOD, WRONG, SILENT, REFUSED))

    cache.write_text(cache.read_text() + '{"name": "half')  # as a killed run leaves it
    shown = []
    again = EndpointJudge("m", cache, show_progress=lambda *progress: shown.append(progress))
    assert again.judge([GOOD, WRONG]) == expected[:2]
    assert shown == []
    assert len(endpoint) == 4  # nothing was sent again
    other = EndpointJudge("another", cache)
    assert other.judge([GOOD]) == expected[:1]
    assert len(endpoint) == 5  # verdicts of another model are not reused


def test_lines_without_classes_are_read(endpoint, tmp_path):
    pytest.importorskip("openai")
    judge = EndpointJudge("m", tmp_path / "cache.jsonl")
    judge.judge([GOOD])
    row = json.loads((tmp_path / "cache.jsonl").read_text())
    old = {key: row[key] for key in ("name", "well_posed", "right")}
    (tmp_path / "cache.jsonl").write_text(json.dumps(old) + "\n")
    assert EndpointJudge("m", tmp_path / "cache.jsonl").judge([GOOD]) == [Judgement(well_posed=True, right=True)]
    assert len(endpoint) == 1


def test_missing_url_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL is not set"):
        EndpointJudge("m", tmp_path / "cache.jsonl")


VAGUE = {"well_posed": False, "right": False, "error_class": "ambiguous", "verified_answer": "N/A"}
WELL = {"well_posed": True, "right": True, "error_class": "none", "verified_answer": "4"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"so\n{json.dumps(VAGUE)}\n", Judgement(**VAGUE)),
        (f"so\n```json\n{json.dumps(WELL)}\n```\n", Judgement(**WELL)),
        (json.dumps(WELL | {"verified_answer": 4}), Judgement(**WELL)),
        (f"{json.dumps(WELL)}\nbut I am not sure", None),
        (json.dumps(WELL | {"well_posed": 1}), None),
        (json.dumps(WELL | {"error_class": "typo"}), None),
        (json.dumps(WELL | {"error_class": ["none"]}), None),
        (json.dumps(WELL | {"well_posed": False}), None),
        (json.dumps(WELL | {"error_class": "logic"}), None),
        (json.dumps(WELL | {"verified_answer": "4" * 1000}), None),
        ('{"well_posed": true, "right": true}', None),
        ("[" * 10_000, None),
        ("", None),
    ],
)
def test_verdict_is_parsed_from_the_last_line_only(text, expected):
    assert parse_verdict(text) == expected
