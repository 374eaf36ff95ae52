r"""Grades pairs of answers: `python -m soar_jax.grading < pairs.jsonl`.

Reads lines `{"gold": …, "answer": …}` and writes lines `{"verdict": …}` in the same order. The last `\boxed{…}` of a
text is its answer, or else the text itself. A gold may also be a number, or a solution that ends with `#### …`. A
malformed line is "unparsable".
"""

from __future__ import annotations

import itertools
import json
import sys

from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS, extract
from soar_jax.grading.gold import gold_answer, value_text
from soar_jax.grading.grader import Grader

PAIRS_PER_BATCH = 1000


def main() -> None:
    """Grades standard input to standard output."""
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    grader = Grader(extraction=("boxed",), equivalence="math")
    while lines := list(itertools.islice(sys.stdin, PAIRS_PER_BATCH)):
        pairs = [_parse_pair(line) for line in lines]
        verdicts = grader.compare([answer for _, answer in pairs], [gold for gold, _ in pairs])
        sys.stdout.writelines(json.dumps({"verdict": verdict.value}) + "\n" for verdict in verdicts)
        sys.stdout.flush()


def _parse_pair(line: str) -> tuple[str, str | None]:
    """Reads the gold and the final answer; the answer is None if the line is malformed or has none."""
    try:
        row = json.loads(line)
        gold, answer = value_text(row["gold"]), row["answer"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", None
    if gold is None or not isinstance(answer, str):
        return "", None
    gold = gold_answer(gold) or gold
    if "\\boxed" in answer or "\\fbox" in answer:
        answer = extract(answer, ("boxed",)) or ""
    is_too_long = max(len(gold), len(answer)) > MAX_ANSWER_CHARACTERS
    return ("", None) if is_too_long or not answer.strip() else (gold, answer)


if __name__ == "__main__":
    main()
