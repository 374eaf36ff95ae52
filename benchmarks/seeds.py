"""Runs a method for several seeds and tabulates them: `python benchmarks/seeds.py --config=configs/soar_math.py`.

Finished seeds are not run again; all seeds are reported. The table is appended to
benchmarks/RESULTS.md.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time

from absl import app, flags

CONFIG = flags.DEFINE_string("config", "configs/soar_math.py", "Method config file.")
SEEDS = flags.DEFINE_integer("seeds", 5, "Seeds 0 to this, exclusive.")
OUT = flags.DEFINE_string("out", "runs/seeds", "Folder of the workdirs.")
OVERRIDES = flags.DEFINE_multi_string("set", [], "A further config value, KEY=VALUE; may be repeated.")
RESULTS = pathlib.Path(__file__).parent / "RESULTS.md"


def run_seed(seed: int) -> pathlib.Path:
    """Runs one seed to its summary; a finished one only shows its table. The workdir."""
    workdir = pathlib.Path(OUT.value) / f"seed{seed}"
    command = ["experiments/run.py", f"--config={CONFIG.value}", f"--config.seed={seed}", f"--workdir={workdir}"]
    overrides = [f"--config.{text}" for text in OVERRIDES.value]
    subprocess.run([sys.executable, *command, *overrides], check=True)
    return workdir


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def table(workdirs: list[pathlib.Path]) -> list[str]:
    """A row a seed, and the means."""
    rows, means = [], []
    for seed, workdir in enumerate(workdirs):
        summary = json.loads((workdir / "summary.json").read_text())
        timings = [json.loads(line) for line in (workdir / "timings.jsonl").read_text().splitlines()][1:]
        policies = [summary.get(name, {}) for name in ("base", "promoted_student", "hard_only")]
        shares = [policy.get(f"pass@{k}", float("nan")) for policy in policies for k in (1, 32)]
        means.append(shares)
        step_s = [row["step_s"] for row in timings]
        rows.append(
            f"| {seed} | "
            + " | ".join(map(_percent, shares))
            + f" | {summary['num_promotions']} | {summary['outer_steps']} | {summary['student_steps']} "
            f"| {statistics.median(step_s):.1f} / {max(step_s):.1f} | {summary['wall_s']:.0f} "
            f"| {summary['peak_rss_gib']:.2f} |"
        )
    columns = list(zip(*means, strict=True))
    average = " | ".join(_percent(statistics.fmean(column)) for column in columns)
    spread = " | ".join(_percent(statistics.stdev(column)) if len(column) > 1 else "" for column in columns)
    return [
        "| seed | base pass@1 | pass@32 | promoted pass@1 | pass@32 | Hard-Only pass@1 | pass@32 | promotions "
        "| outer steps | student steps | s a step, median / max | s in all | GiB |",
        "|---" * 13 + "|",
        *rows,
        f"| mean | {average} |" + " |" * 6,
        f"| standard deviation | {spread} |" + " |" * 6,
    ]


def main(_: list[str]) -> None:
    """Runs all seeds, prints the table and appends it to the results."""
    workdirs = [run_seed(seed) for seed in range(SEEDS.value)]
    command = " ".join(["python", *sys.argv])
    text = f"\n## {CONFIG.value}, {SEEDS.value} seeds, {time.strftime('%Y-%m-%d')}\n\n`{command}`\n\n"
    text += "\n".join(table(workdirs)) + "\n"
    print(text)
    with RESULTS.open("a") as file:
        file.write(text)


if __name__ == "__main__":
    app.run(main)
