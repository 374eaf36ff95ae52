"""What the tests of whole runs share: starting, ending and comparing them."""

import json

# A threshold below zero promotes whenever the window is full, so that all parts of the state are used.
PROMOTE = ("--config.promotion.threshold=-1.0", "--config.promotion.window=2")


def read(workdir, name):
    return (workdir / name).read_text()


def finish(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def rows(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def outcome(workdir):
    """Everything that must not depend on interruptions or the clock."""
    summary = json.loads(read(workdir, "summary.json"))
    for name in ("wall_s", "search_s", "peak_rss_gib", "compilations", "compilations_s", "command"):
        summary.pop(name)
    return read(workdir, "metrics.jsonl"), read(workdir, "ledger.jsonl"), summary


def start(command, workdir, *more, config="configs/soar_math.py"):
    return command("run", config, f"--workdir={workdir}", *more)
