"""The worker's end of the line to a peer: one JSON request a line in, one JSON answer a line out.

Runs in a peer's own environment, so it needs the standard library alone.
"""

import json
import os
import sys
import traceback


def serve(handlers):
    """Answers requests until the line is closed.

    A request is {"do": NAME, ...}: the rest of it are the arguments of `handlers[NAME]`, which returns a dict. What
    libraries print goes to stderr, so that nothing but answers is on the line.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handlers[request.pop("do")](**request)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
