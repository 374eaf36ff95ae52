"""The worker's side of the protocol: JSON requests on stdin, JSON answers on stdout, one a line.

Runs in the environment of a peer, so it uses only the standard library.
"""

import json
import os
import sys
import traceback


def serve(handlers):
    """Answers requests until stdin is closed.

    A request is {"do": NAME, **arguments of handlers[NAME]}; a handler returns a dict. Output that libraries print goes
    to stderr, so that stdout has only answers.
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
