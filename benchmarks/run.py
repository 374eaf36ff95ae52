"""Speed measurements: `python benchmarks/run.py --suite=sampler`; medians, appended to benchmarks/RESULTS.md.

Suites:
  sampler: sampled tokens/s of the embedded model at several batch sizes, all sizes in
    turn in every round, so that a slow moment of the machine hits all of them.
"""

import pathlib
import platform
import statistics
import time

from absl import app, flags

from soar_jax.parallel import mesh as parallel

SUITE = flags.DEFINE_enum("suite", None, ["sampler"], "What to measure.", required=True)
ROUNDS = flags.DEFINE_integer("rounds", 7, "Counted rounds, after one that compiles.")
CPU_DEVICES = flags.DEFINE_integer("cpu_devices", 2, "How many devices a CPU is split into.")
RESULTS = pathlib.Path(__file__).parent / "RESULTS.md"


def measure_sampler() -> list[str]:
    """Tokens/s on level-8 questions answered in full (27 tokens), batch 2 to 1024 rows."""
    import jax
    import numpy as np

    from soar_jax.model.loading import EMBEDDED, load_model
    from soar_jax.problems import arithmetic
    from soar_jax.problems.prompts import PromptSettings
    from soar_jax.sampling.text import TextSampler

    base, mesh = load_model(EMBEDDED, "float32"), parallel.make_mesh(-1)
    params = parallel.replicate(mesh, base.params)
    prompts = PromptSettings("textbook {question} ?", "teacher", (15,))  # textbooks are always worked
    rng = np.random.default_rng(0)
    questions = [arithmetic.random_dial(rng, 8).text() for _ in range(1024)]
    rates: dict[int, list[float]] = {batch: [] for batch in (2, 16, 64, 256, 512, 1024)}
    sampler = TextSampler(mesh, base.config, base.tokenizer, prompts, rows_per_chunk=64, population_batch=1)
    settings = sampler.settings(27, temperature=1.0)
    for number in range(ROUNDS.value + 1):
        for batch in rates:
            encoded = sampler.encode_questions(questions[:batch])
            started = time.perf_counter()
            rollouts = sampler.sample_policy(params, encoded, jax.random.key(number), settings, 1)
            tokens = int(np.asarray(rollouts.lengths).sum())
            if number:
                rates[batch].append(tokens / (time.perf_counter() - started))
    return ["| batch | tokens/s, median | min | max |", "|---|---|---|---|"] + [
        f"| {batch} | {statistics.median(values):,.0f} | {min(values):,.0f} | {max(values):,.0f} |"
        for batch, values in rates.items()
    ]


def main(_: list[str]) -> None:
    """Runs a suite, prints its table and appends it to the results."""
    parallel.set_num_cpu_devices(CPU_DEVICES.value)
    import jax

    lines = {"sampler": measure_sampler}[SUITE.value]()
    head = (
        f"\n## {SUITE.value}, {time.strftime('%Y-%m-%d')}\n\n"
        f"`python benchmarks/run.py --suite={SUITE.value} --cpu_devices={CPU_DEVICES.value}`, "
        f"{ROUNDS.value} rounds, {jax.device_count()} {jax.devices()[0].platform} device(s), "
        f"{platform.machine()}, Python {platform.python_version()}, JAX {jax.__version__}\n\n"
    )
    text = head + "\n".join(lines) + "\n"
    print(text)
    with RESULTS.open("a") as file:
        file.write(text)


if __name__ == "__main__":
    app.run(main)
