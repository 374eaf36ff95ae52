"""What the tests of whole runs share: their size, starting, ending and comparing them."""

import contextlib
import importlib
import io
import json
import signal
import socket
import sys
import time

import pytest
from absl import app, flags

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
    "curriculum.warm_start_steps": 1,
    "final.validate_every": 2,
    "final.num_replicas": 2,
    "transfer.num_problems": 4,
}

# A threshold below zero promotes whenever the window is full, so that all parts of the state are used; with this seed
# the teacher is rewarded in the first two steps.
PROMOTE = (
    "--config.promotion.rule=moving_average_literal",  # promotes also what gained nothing
    "--config.promotion.threshold=-1.0",
    "--config.promotion.window=2",
    "--config.seed=1",
)


def read(workdir, name):
    return (workdir / name).read_text()


# No process of a test takes a tenth of it on a quiet machine.
PATIENCE_S = 900


def finish(process, timeout=PATIENCE_S):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def run_program(name, *arguments):
    """Runs `experiments/NAME.py` in this process, which compiles nothing twice; exit code, stdout and stderr."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    app.define_help_flags()
    others = set(flags.FLAGS)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", [f"experiments/{name}.py", *arguments])
        patch.delitem(sys.modules, f"soar_jax.cli.{name}", raising=False)  # so that it defines its flags again
        try:
            importlib.import_module(f"soar_jax.cli.{name}").start()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for flag in set(flags.FLAGS) - others:  # the next program may define them otherwise
                delattr(flags.FLAGS, flag)
            flags.FLAGS.unparse_flags()
    return code, out.getvalue(), err.getvalue()


def tiny(config, *arguments):
    """The flags of a tiny run of a config file."""
    return (f"--config={config}", *(f"--config.{key}={value}" for key, value in TINY.items()), *arguments)


def run_tiny(workdir, *arguments, config="configs/soar_math.py"):
    """A tiny run in this process; exit code, stdout and stderr."""
    return run_program("run", *tiny(config, f"--workdir={workdir}", *arguments))


def the_error(err):
    """The one line that a program ended with."""
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    return line


def wait_until(is_so, process, every_s=0.005):
    """Waits for something that a process does; a test that continues after its end sees it in the exit code."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(every_s)


def kill(process):
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the program ended before it could be killed"


def rows(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def outcome(workdir):
    """Everything that must not depend on interruptions or the clock."""
    summary = json.loads(read(workdir, "summary.json"))
    for name in ("wall_s", "search_s", "peak_rss_gib", "compilations", "compilations_s", "programs", "command"):
        summary.pop(name)
    rows = [read(workdir, f"{name}.jsonl") for name in ("metrics", "ledger", "completions")]
    return *rows, summary


def start(command, workdir, *more, config="configs/soar_math.py"):
    return command("run", config, f"--workdir={workdir}", *more)


def two_processes():
    """The flags of both processes of one job on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        together = (f"--coordinator=127.0.0.1:{free.getsockname()[1]}", "--num_processes=2")
    return tuple((*together, f"--process_id={number}") for number in (0, 1))
