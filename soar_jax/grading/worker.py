"""A worker process of `pool.py`: JSON lines in, JSON lines out, one pair at a time."""

from __future__ import annotations

import json
import os
import resource
import sys

from soar_jax.grading.symbolic import algebraically_same

MAX_MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Answers until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MAX_MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    algebraically_same("1", "2")  # imports everything
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        try:
            verdict = algebraically_same(gold, answer)
        except Exception:  # the libraries raise everything there is; such a pair is not the same
            verdict = False
        print(json.dumps(verdict), file=answers, flush=True)


if __name__ == "__main__":
    main()
