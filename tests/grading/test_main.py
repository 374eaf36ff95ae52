import io
import json
import sys

from soar_jax.grading import __main__ as command_line


def test_golds_are_numbers_texts_or_solutions(monkeypatch, capsys):
    pairs = [
        {"gold": 5, "answer": r"so \boxed{5}"},
        {"gold": 0.5, "answer": r"\frac{1}{2}"},
        {"gold": "He has 2+2 = 4.\n#### 4", "answer": "4"},
        {"gold": r"Thus \boxed{x+1}.", "answer": "1+x"},
        {"gold": 5, "answer": "6"},
        {"gold": True, "answer": "1"},
        {"gold": float("nan"), "answer": "nan"},
        {"gold": [5], "answer": "5"},
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(map(json.dumps, pairs)).encode())))
    command_line.main()
    verdicts = [json.loads(line)["verdict"] for line in capsys.readouterr().out.splitlines()]
    assert verdicts == [*["correct"] * 4, "wrong", *["unparsable"] * 3]
