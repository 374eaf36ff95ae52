"""What the tests of whole runs share: their size, starting, ending and comparing them."""

import json
import socket

# A whole run in seconds: the embedded model, few of everything. Problems are easy and steps large, so that students
# move and their teacher is rewarded.
TINY = {
    "num_outer_steps": 3,
    "outer.num_datasets": 2,
    "outer.questions_per_dataset": 4,
    "outer.num_reward_questions": 4,
    "outer.reward_samples": 16,
    "inner.num_steps": 2,
    "inner.questions_per_step": 2,
    "inner.group_size": 4,
    "student.learning_rate": 3e-3,
    "student.adam_eps": 1e-5,
    "problems.levels": (2, 3),
    "hard_subset.num_candidates": 32,
    "hard_subset.num_samples": 2,
    "hard_subset.samples_per_round": 2,
    "evaluation.num_samples": 32,
    "evaluation.problems_per_call": 4,
    "evaluation.validation_samples": 4,
    "curriculum.levels": (3,),
    "curriculum.num_questions": 4,
    "final.num_steps": 2,
    "final.num_replicas": 2,
    "transfer.num_problems": 4,
}

# A threshold below zero promotes whenever the window is full, so that all parts of the state are used; with this seed
# the teacher is rewarded in the first two steps.
PROMOTE = ("--config.promotion.threshold=-1.0", "--config.promotion.window=2", "--config.seed=1")


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
    for name in ("wall_s", "search_s", "peak_rss_gib", "compilations", "compilations_s", "programs", "command"):
        summary.pop(name)
    return read(workdir, "metrics.jsonl"), read(workdir, "ledger.jsonl"), summary


def start(command, workdir, *more, config="configs/soar_math.py"):
    return command("run", config, f"--workdir={workdir}", *more)


def two_processes():
    """The flags of both processes of one job on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        together = (f"--coordinator=127.0.0.1:{free.getsockname()[1]}", "--num_processes=2")
    return tuple((*together, f"--process_id={number}") for number in (0, 1))
