"""Measures speed: `python benchmarks/run.py --suite=NAME`.

Appends rows to benchmarks/results.jsonl, and writes RESULTS.md from them (benchmarks/results.py).

The sides of a comparison are interleaved in one run (A B A B ...), and figures are medians over the rounds. All sides
use the same cores and dtype, and one works at a time. Suites:

  sampler     sampled tokens/s against transformers' `generate` and Tunix's sampler
  rl_step     one RLOO step of 8 prompts against TRL's RLOOTrainer and Tunix's learner
  population  16 students x 10 inner steps, in one program against one student at a time; memory of a student
  outer_step  time of each phase in an outer step of the shipped config
  grading     pairs graded per second against math-verify
  scaling     the same work on 1, 2, 4, 8 CPU devices; time against population, rows, prompt and completion lengths
  roofline    copy and matmul rates of this device, and the fraction that prefill, decoding and update reach
  int8_cache  effect of an int8 cache on the sampling rate and on log-probabilities
  short_episodes  share of ten steps' effect that bfloat16 keeps, with the dither and with rounding to nearest
  start       time to the first outer step, by phase, without and with compiled programs on disk
  compile     compile time of each program for a TPU slice
  implied     FLOPs and bytes of a step compiled for a TPU, and the implied time of a 3B run; runs nothing
  gpu         one accelerator: sampling, a 3B model, MFU of the update, a LoRA population; at most 9 minutes

Peers are installed in environments of their own in benchmarks/.venvs/ when a suite first needs them.
"""

import importlib
import os
import pathlib
import shlex
import sys
from typing import Any

from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # for running this file by its path

SUITES = (
    "sampler",
    "rl_step",
    "population",
    "outer_step",
    "grading",
    "scaling",
    "roofline",
    "int8_cache",
    "short_episodes",
    "start",
    "compile",
    "implied",
    "gpu",
)
SUITE = flags.DEFINE_enum("suite", None, SUITES, "Suite to run.", required=True)
APPEND = flags.DEFINE_bool("append", True, "Append the results to results.jsonl, and write RESULTS.md from it.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Counted rounds, after a warm-up round that compiles.", lower_bound=1)
CORES = flags.DEFINE_integer("cores", min(2, os.cpu_count() or 1), "Cores that all sides are pinned to.", lower_bound=1)
PEERS = flags.DEFINE_list("peers", ["torch", "tunix"], "Peers to compare with: torch, tunix; empty: none.")
MODELS = flags.DEFINE_list("models", ["nano", "smollm2"], "Models to measure: nano, smollm2.")
SMOLLM2 = flags.DEFINE_string(
    "smollm2", "", "Path of SmolLM2-135M, a Hugging Face folder or a GGUF file; default: downloaded once."
)
BATCHES = flags.DEFINE_list("batches", ["1", "16", "64", "256"], "Rows of a sampling call.")
NEW_TOKENS = flags.DEFINE_list("new_tokens", ["128", "512"], "Completion tokens.")
CASES = flags.DEFINE_list(
    "cases",
    ["equal", "shared", "mixed"],
    "Sampling calls: completions of equal lengths, several of a prompt, of mixed lengths.",
)
TINY = flags.DEFINE_bool("tiny", False, "Tiny shapes, to test the code without a GPU; the figures mean nothing.")
SHARED = ("suite", "append", "rounds")  # flags that all suites read


def options() -> Any:
    """Reads the flags.

    Raises:
      SettingsError: a value is invalid, or the suite does not read a given flag.
    """
    from benchmarks import models
    from benchmarks.options import Options
    from benchmarks.peers.environments import PEERS as KNOWN_PEERS
    from soar_jax.errors import check_choice, require

    reads = _suite().READS
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        known = flag.name in (*SHARED, *reads) or not flag.present
        require(known, f"--{flag.name} is not for --suite={SUITE.value}, which reads --{', --'.join(reads) or 'none'}")
    for name in PEERS.value:
        check_choice("--peers", name, tuple(KNOWN_PEERS))
    for name in MODELS.value:
        check_choice("--models", name, tuple(models.SCALES))
    for name in CASES.value:
        check_choice("--cases", name, ("equal", "shared", "mixed"))
    numbers = [*BATCHES.value, *NEW_TOKENS.value]
    require(
        all(text.isdigit() and int(text) > 0 for text in numbers), "--batches and --new_tokens are lists of numbers"
    )
    return Options(
        rounds=ROUNDS.value,
        cores=CORES.value,
        peers=tuple(PEERS.value) if "peers" in reads else (),
        models=tuple(MODELS.value),
        smollm2=SMOLLM2.value,
        batches=tuple(map(int, BATCHES.value)),
        new_tokens=tuple(map(int, NEW_TOKENS.value)),
        cases=tuple(CASES.value),
        tiny=TINY.value,
    )


def _suite() -> Any:
    return importlib.import_module(f"benchmarks.suites.{SUITE.value}")


def measure() -> None:
    """Runs the suite; prints and records each table when it is finished, and writes the page of results at the end."""
    from benchmarks import environment, report, results
    from benchmarks.peers import environments
    from soar_jax import parallel
    from soar_jax.parallel.compilation_cache import keep_compiled_programs

    chosen, suite = options(), _suite()
    if "cores" in suite.READS:
        environment.pin(chosen.cores)
        parallel.set_num_cpu_devices(chosen.cores)
    keep_compiled_programs()  # compilation is never counted
    versions = {key: value for peer in chosen.peers for key, value in environments.versions(peer).items()}
    suite_report = report.SuiteReport(
        suite=SUITE.value, command=shlex.join(["python", *sys.argv]), environment=environment.describe(versions)
    )
    try:
        for section in suite.measure(chosen):
            print(suite_report.add(section, APPEND.value), flush=True)
    finally:  # an interrupted suite has recorded its finished tables
        if APPEND.value:
            results.write()


def main(_: list[str]) -> None:
    """Runs a suite; an error in the settings is one line on stderr."""
    from soar_jax.errors import EXIT_BAD_INPUT, SettingsError

    try:
        measure()
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    app.run(main)
