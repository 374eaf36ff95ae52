"""Grades pairs of answers: `python -m soar_jax.grading < pairs.jsonl`.

Reads lines `{"gold": …, "answer": …}` and writes lines `{"verdict": …}` in the same order; `pairs.py` says what a pair
may be. A malformed line is "unparsable".
"""

from __future__ import annotations

import itertools
import json
import sys

from soar_jax.grading.pairs import GRADER, read_pair

PAIRS_PER_BATCH = 1000


def main() -> None:
    """Grades standard input to standard output."""
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    while lines := list(itertools.islice(sys.stdin, PAIRS_PER_BATCH)):
        pairs = [_parse_pair(line) for line in lines]
        verdicts = GRADER.compare([answer for _, answer in pairs], [gold for gold, _ in pairs])
        sys.stdout.writelines(json.dumps({"verdict": verdict.value}) + "\n" for verdict in verdicts)
        sys.stdout.flush()


def _parse_pair(line: str) -> tuple[str, str | None]:
    """Reads the gold and the final answer of a line."""
    try:
        row = json.loads(line)
        return read_pair(row["gold"], row["answer"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", None


if __name__ == "__main__":
    main()
