r"""Grades pairs: `python -m soar_jax.grading < pairs.jsonl`.

Reads lines `{"gold": …, "answer": …}` and writes lines `{"verdict": …}` in their order. An answer with a
`\boxed{…}` is what its last box holds; a line that is no such pair is "unparsable".
"""

from __future__ import annotations

import itertools
import json
import sys

from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS, boxed, extract
from soar_jax.grading.grader import Grader

PAIRS_AT_ONCE = 1000


def main() -> None:
    """Grades standard input to standard output."""
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    grader = Grader(extraction=("boxed",), equivalence="math")
    while lines := list(itertools.islice(sys.stdin, PAIRS_AT_ONCE)):
        pairs = [_pair(line) for line in lines]
        verdicts = grader.compare([answer for _, answer in pairs], [gold for gold, _ in pairs])
        sys.stdout.writelines(json.dumps({"verdict": verdict.value}) + "\n" for verdict in verdicts)
        sys.stdout.flush()


def _pair(line: str) -> tuple[str, str | None]:
    try:
        row = json.loads(line)
        gold, answer = row["gold"], row["answer"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", None
    if not isinstance(gold, str) or not isinstance(answer, str):
        return "", None
    gold = boxed(gold) or gold
    return (gold, _final(answer)) if len(gold) <= MAX_ANSWER_CHARACTERS else ("", None)


def _final(answer: str) -> str | None:
    if "boxed" in answer:
        return extract(answer, ("boxed",))
    return answer if answer.strip() and len(answer) <= MAX_ANSWER_CHARACTERS else None


if __name__ == "__main__":
    main()
