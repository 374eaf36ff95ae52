"""Kills runs with SIGKILL at random moments, resumes them, and compares them byte for byte with an uninterrupted run.

    python -m benchmarks.fault_injection --kills=20

Every second kill comes at a time drawn uniformly from the duration of an uninterrupted run. The others come shortly
after a row of metrics is written, while the checkpoint is saved, a moment that uniform draws would rarely hit. Exit
code 1 if a resumed run differs. The runs share a compilation cache, in a temporary folder unless
JAX_COMPILATION_CACHE_DIR names one.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from tests.experiments.runs import PROMOTE, TINY

KILLS = flags.DEFINE_integer("kills", 20, "Number of runs to kill.")
OUTER_STEPS = flags.DEFINE_integer("outer_steps", 4, "Outer steps of a run.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the kill times.")
ROOT = pathlib.Path(__file__).parent.parent
AFTER_ROW_S = 0.3  # longer than writing a step's files and checkpoint takes


def start(folder: pathlib.Path, name: str) -> subprocess.Popen:
    """Starts or resumes a run in `folder/name`; its output is appended to `folder/NAME.txt`."""
    sizes = [f"--config.{key}={value}" for key, value in TINY.items() if key != "num_outer_steps"]
    command = [sys.executable, "experiments/run.py", "--config=configs/soar_math.py", f"--workdir={folder / name}"]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    with (folder / f"{name}.txt").open("a") as out:
        return subprocess.Popen(
            [*command, f"--config.num_outer_steps={OUTER_STEPS.value}", *sizes, *PROMOTE],
            cwd=ROOT,
            env=cache | os.environ,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def finish(folder: pathlib.Path, name: str) -> float:
    """Runs to the end and returns the seconds it took; exits if the run fails."""
    started = time.perf_counter()
    if code := start(folder, name).wait():
        sys.exit(f"run {name} ended with exit code {code}:\n{(folder / f'{name}.txt').read_text()}")
    return time.perf_counter() - started


def outcome(workdir: pathlib.Path) -> tuple[str, bytes, bytes]:
    """Returns the results that must not depend on a kill: hash of the final state, metrics, ledger."""
    state = json.loads((workdir / "summary.json").read_text())["state_sha256"]
    return state, (workdir / "metrics.jsonl").read_bytes(), (workdir / "ledger.jsonl").read_bytes()


def num_rows(workdir: pathlib.Path) -> int:
    """Counts the rows of metrics, one per outer step."""
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def place(workdir: pathlib.Path) -> str:
    """Describes how far a killed run got, from its files."""
    checkpoints = workdir / "checkpoints"
    saved = max((int(path.name) for path in checkpoints.glob("*") if path.name.isdigit()), default=0)
    if not (workdir / "hard_subset.jsonl").exists():
        return "starting"
    if any("tmp" in path.name for path in checkpoints.glob("*")):
        return f"saving step {num_rows(workdir)}"
    if num_rows(workdir) > saved:
        return f"step {saved + 1} written, not saved"
    return "final students and tests" if saved == OUTER_STEPS.value else f"in step {saved + 1}"


def kill(folder: pathlib.Path, name: str, rng: random.Random, duration_s: float | None) -> float:
    """Kills a run at a random time within `duration_s`, or shortly after a random row if that is None.

    Returns:
      The seconds that the run lived; 0 if it ended before the kill.
    """
    started = time.perf_counter()
    process = start(folder, name)
    if duration_s is not None:
        time.sleep(rng.uniform(0, duration_s))
    else:
        step = rng.randint(1, OUTER_STEPS.value)
        while num_rows(folder / name) < step and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, AFTER_ROW_S))
    process.kill()
    return time.perf_counter() - started if process.wait() else 0.0


def main(_: list[str]) -> None:
    """Prints a row per kill and the number of equal runs."""
    rng = random.Random(SEED.value)
    num_equal = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        finish(folder, "compiling")
        duration_s = finish(folder, "whole")
        expected = outcome(folder / "whole")
        assert expected == outcome(folder / "compiling"), "two uninterrupted runs differ"
        print(
            f"an uninterrupted run of {OUTER_STEPS.value} outer steps: {duration_s:.1f} s, state {expected[0][:12]}\n"
        )
        print("| kill | after, s | where | resumed in, s | equal |\n|---|---|---|---|---|", flush=True)
        for number in range(1, KILLS.value + 1):
            lived_s = 0.0
            while not lived_s:  # the run ended before the kill: try again
                name = f"{number}-{rng.randrange(10**6)}"
                lived_s = kill(folder, name, rng=rng, duration_s=duration_s if number % 2 else None)
            where, resumed_s = place(folder / name), finish(folder, name)
            equal = outcome(folder / name) == expected
            num_equal += equal
            print(f"| {number} | {lived_s:.1f} | {where} | {resumed_s:.1f} | {'yes' if equal else 'NO'} |", flush=True)
    print(f"\n{num_equal} of {KILLS.value} equal")
    sys.exit(num_equal < KILLS.value)


if __name__ == "__main__":
    app.run(main)
