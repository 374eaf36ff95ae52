"""Screens teacher settings of the embedded model in minutes: real teachers, students drawn from a measured table.

    python benchmarks/teacher_proxy.py --out=proxy --variant= --variant="teacher.kl_coef=0.001"

Teacher, sampler, advantages, update and promotion rule are those of a run. Students, which take a run's time, are
replaced: some are trained once, on datasets with a known number of useful questions of the untrained teacher, and a
dataset of the proxy gets the accuracy of one of those with as many. A proxy ends at its first promotion.

It is kinder than whole runs: of the wrong questions that a teacher writes on its way it knows nothing. So it can reject
a setting, and whole runs on fresh seeds accept one.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.config.methods import method_config
from soar_jax.config.reading import read_config
from soar_jax.config.run_config import RunConfig
from soar_jax.model.parameters import Params
from soar_jax.problems import arithmetic
from soar_jax.rl.schedules import learning_rates
from soar_jax.rng import stream_generator, stream_key
from soar_jax.runs.build import build
from soar_jax.sampling.text import Draw
from soar_jax.soar import teacher
from soar_jax.soar.inner_loop import EpisodePlan, train_population
from soar_jax.soar.promotion import StepOutcome, decide
from soar_jax.soar.reference_kl import subtract_teachers_kl
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import initial_arrays
from soar_jax.soar.teacher_rewards import rollout_advantages
from soar_jax.types import QuestionAnswer

NUM_QUESTIONS = 8192  # of the untrained teacher, which the table's datasets are made of
NUM_PROBLEMS = 32  # of each level, which the table's students answer
MOST_USEFUL = 8  # useful questions of a dataset of the table; more count as these
POPULATIONS = 2  # of g students each, for every number of useful questions
# Config keys that the table depends on.
TABLE_KEYS = ("outer.num_datasets", "outer.questions_per_dataset", "inner", "student", "model", "problems.levels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentTable:
    """Accuracies of students that were trained on datasets with a known number of useful questions."""

    levels: tuple[int, ...]  # of the hard problems
    accuracy: np.ndarray  # [useful questions + 1, students, levels]

    def draw(self, rng: np.random.Generator, num_useful: int) -> np.ndarray:
        """Draws a student of a dataset with `num_useful` useful questions; its accuracy by level."""
        students = self.accuracy[min(num_useful, len(self.accuracy) - 1)]
        return np.asarray(students[rng.integers(len(students))])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What came of a proxy's outer loop."""

    seed: int
    promoted_step: int | None  # outer step of the first promotion, from 1
    useful: tuple[float, ...]  # mean number of useful questions of a dataset, by outer step
    best_rewards: tuple[float, ...]  # by outer step


def is_useful(item: QuestionAnswer) -> bool:
    """Whether a question can teach to work long problems."""
    facts = arithmetic.facts(item.question)
    return arithmetic.is_useful(facts.subject, facts.level, item.answer == facts.true_answer)


def measure_table(setup: Setup) -> StudentTable:
    """Trains students on datasets with 0, 1, 2, ... useful questions, and measures them on problems not filtered."""
    config = setup.config
    written = teacher.sample_questions(setup, setup.base_weights, NUM_QUESTIONS)
    pools = [[item for item in written if is_useful(item) == wanted] for wanted in (True, False)]
    levels = tuple(sorted(set(config.problems.levels)))
    rows = []
    for count in range(min(MOST_USEFUL, config.outer.questions_per_dataset) + 1):
        trained = [_train(setup, pools, count, number) for number in range(POPULATIONS)]
        rows.append([np.stack([_accuracy(setup, weights, level) for level in levels], axis=1) for weights in trained])
    return StudentTable(levels=levels, accuracy=np.array([np.concatenate(row) for row in rows]))


def _train(setup: Setup, pools: Sequence[Sequence[QuestionAnswer]], num_useful: int, number: int) -> Params:
    """Trains g students on datasets with `num_useful` useful questions each."""
    config = setup.config
    rng = stream_generator(config.seed, "table", num_useful, number)
    sizes = (num_useful, config.outer.questions_per_dataset - num_useful)
    sets = [
        tuple(pool[i] for pool, size in zip(pools, sizes, strict=True) for i in rng.choice(len(pool), size, False))
        for _ in range(config.outer.num_datasets)
    ]
    rates = learning_rates(config.student, config.inner.num_steps, config.student.warmup_steps)
    plan = EpisodePlan(stream="table", indices=(num_useful, number), learning_rates=rates)
    states, _ = train_population(setup, setup.base_weights, sets, plan=plan)
    return states.weights


def _accuracy(setup: Setup, students: Params, level: int) -> np.ndarray:
    """Accuracy [g] of students at new problems of a level."""
    outer = setup.config.outer
    problems = arithmetic.generate_problems(stream_generator(0, "table_problems", level), (level,), NUM_PROBLEMS)
    draw = Draw(
        key=stream_key(setup.config.seed, "table_sample", level),
        settings=setup.evaluation_sampling(outer.reward_temperature),
        num_samples=outer.reward_samples,
    )
    counts = setup.evaluator.count_correct(students, problems, draw, num_students=outer.num_datasets)
    return np.asarray(counts.mean(axis=1) / outer.reward_samples)


def search(setup: Setup, table: StudentTable) -> Search:
    """Runs the outer loop to its first promotion, or to its end."""
    config = setup.config
    state, window = initial_arrays(setup).teacher, ()
    useful: list[float] = []
    best: list[float] = []
    for step in range(config.num_outer_steps):
        datasets = teacher.sample_datasets(setup, state.weights, step)
        counts = [sum(map(is_useful, datasets.questions(dataset))) for dataset in range(len(datasets.items))]
        rewards = draw_rewards(config, table, counts, step)
        useful.append(float(np.mean(counts)))
        best.append(float(rewards.max()))
        outcome = StepOutcome(
            outer_step=step, mean_reward=rewards.mean(), best_reward=best[-1], best_dataset=int(rewards.argmax())
        )
        decision = decide(window, outcome, config.promotion)
        if decision.promoted_step is not None:
            break
        window = decision.window
        net, _ = subtract_teachers_kl(setup, rewards, datasets.rollouts)
        advantages = rollout_advantages(net, datasets.is_valid, config.teacher.invalid_penalty)
        state, _ = teacher.teach(setup, state, datasets, advantages=advantages, step=step)
    promoted = None if decision.promoted_step is None else step + 1
    return Search(seed=config.seed, promoted_step=promoted, useful=tuple(useful), best_rewards=tuple(best))


def draw_rewards(config: RunConfig, table: StudentTable, num_useful: Sequence[int], step: int) -> np.ndarray:
    """Draws the rewards [g] of datasets; the baseline student's accuracy is zero, as that of the base model is."""
    outer = config.outer
    rng = stream_generator(config.seed, "proxy", step)
    columns = [table.levels.index(level) for level in rng.choice(config.problems.levels, outer.num_reward_questions)]
    students = [[table.draw(rng, count) for _ in range(outer.students_per_dataset)] for count in num_useful]
    accuracy = np.mean(students, axis=1)[:, columns]  # [g, Q]
    trials = outer.reward_samples * outer.students_per_dataset
    return np.asarray(rng.binomial(trials, accuracy).mean(axis=1) / trials)


def make_config(variant: str, seed: int) -> RunConfig:
    """The config of SOAR with a variant's values, `KEY=VALUE KEY=VALUE`, values as JSON or plain words."""
    config = method_config("soar_math")
    pairs = [text.partition("=")[::2] for text in variant.split()]
    config.update_from_flattened_dict({key: _value(text) for key, text in pairs} | {"seed": seed})
    return read_config(config)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def load_table(setup: Setup, out: pathlib.Path) -> StudentTable:
    """Reads the table of a setup's config, or measures and saves it."""
    values = setup.config.to_dict()
    depends_on = {key: _at(values, key) for key in TABLE_KEYS}
    name = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:12]
    path = out / f"table-{name}.json"
    if not path.exists():
        made = measure_table(setup)
        path.write_text(json.dumps({"levels": made.levels, "accuracy": made.accuracy.tolist(), "of": depends_on}))
    raw = json.loads(path.read_text())
    return StudentTable(levels=tuple(raw["levels"]), accuracy=np.array(raw["accuracy"]))


def _at(values: dict[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return values[section][name] if name else values[section]


def summary_row(variant: str, searches: Sequence[Search]) -> str:
    """A row of the Markdown table: variant, promoted seeds, their median step, useful questions at the end."""
    steps = [each.promoted_step for each in searches if each.promoted_step is not None]
    median = f"{np.median(steps):g}" if steps else "–"
    lost = [each.useful[-1] for each in searches if each.promoted_step is None]
    left = f"{np.mean(lost):.2f}" if lost else "–"
    return f"| {variant or 'as shipped'} | {len(steps)} of {len(searches)} | {median} | {left} |"


def main() -> None:
    """Screens the variants; every search is a line of `searches.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", action="append", required=True, help="KEY=VALUE pairs; empty: as shipped")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each variant")
    parser.add_argument("--first_seed", type=int, default=100)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of tables and searches")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print("| variant | promoted | at step, median | useful questions a dataset, where not |\n|---|---|---|---|")
    for variant in args.variant:
        searches = []
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            setup = build(make_config(variant, seed))
            searches.append(search(setup, load_table(setup, args.out)))
            with (args.out / "searches.jsonl").open("a") as file:
                file.write(json.dumps({"variant": variant} | dataclasses.asdict(searches[-1])) + "\n")
        print(summary_row(variant, searches), flush=True)


if __name__ == "__main__":
    main()
