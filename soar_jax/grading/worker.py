"""A worker process of `pool.py`: reads tasks as JSON lines and writes results as JSON lines, one at a time."""

from __future__ import annotations

import json
import os
import resource
import sys

from soar_jax.grading.symbolic import are_algebraically_equal, is_parsable

MAX_MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Compares pairs and parses single texts until the input ends."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep prints of libraries out of the output
    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    limit = MAX_MEMORY_BYTES if hard_limit == resource.RLIM_INFINITY else min(MAX_MEMORY_BYTES, hard_limit)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard_limit))
    are_algebraically_equal("1", "2")  # imports the libraries
    print("ready", file=output, flush=True)
    for line in sys.stdin:
        texts = json.loads(line)
        try:
            result = are_algebraically_equal(*texts) if len(texts) == 2 else is_parsable(*texts)
        except Exception:  # the libraries raise many kinds; such a pair is not equal, such a text not parsable
            result = False
        print(json.dumps(result), file=output, flush=True)


if __name__ == "__main__":
    main()
