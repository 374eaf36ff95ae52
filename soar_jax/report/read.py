"""Reads workdirs. Runs may be unfinished, running or damaged; everything readable is read."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from soar_jax.config.fields import read_section
from soar_jax.config.saved import identity_of, with_legacy_values
from soar_jax.config.sections import PromotionSection
from soar_jax.errors import SettingsError, require
from soar_jax.soar.promotion import StepOutcome, decide

Row = dict[str, Any]

# Keys that a file or row needs to be used.
_SUMMARY = (
    "command",
    "outer_steps",
    "num_promotions",
    "promotions",
    "total_student_steps",
    "num_sampled_tokens",
    "wall_s",
    "curriculum",
)
_RESULT = ("student_steps", "curve", "tests")
_METRICS = ("outer_step", "validation_accuracy", "promoted", "valid_share", "vendi", "subjects", "levels")
_LEDGER = ("outer_step", "dataset", "question", "answer", "reward")
_CURRICULUM = ("stage", "question", "answer")
_COMPLETIONS = ("outer_step", "dataset", "student", "student_step", "question", "completion", "verdict")
_METHODS_OF_SOAR = ("soar_math", "two_turn_teacher")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """The finished run that a run starts from (`source_run`), as it has noted it; empty without one."""

    config: Row = dataclasses.field(default_factory=dict)
    summary: Row = dataclasses.field(default_factory=dict)
    results: dict[str, Row] = dataclasses.field(default_factory=dict)  # compute alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Contents of one workdir."""

    workdir: pathlib.Path
    config: Row
    summary: Row  # empty until the run is finished
    results: dict[str, Row]  # by tested policy, see runs/final_evaluation.py
    metrics: list[Row]  # one per outer step
    ledger: list[Row]  # one per question of the outer loop; `promoted` is 1 where its dataset's student was promoted
    curriculum: list[Row]  # one per question of the final students
    completions: list[Row]  # a few answers of students in each outer step
    problems: dict[str, Row]  # hard and transfer problems by id
    is_running: bool
    damage: tuple[str, ...]  # problems with its files
    source: Source  # the run that it starts from
    variant: str = ""  # config values that distinguish it from other runs of its method
    is_repeated: bool = False  # another run of the same method, variant and seed is counted instead

    @property
    def method(self) -> str:
        """The method by its present name, see `present_method`."""
        return present_method(self.config, self.source.config)

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def seeds(self) -> tuple[int, int]:
        """The teacher's seed and the run's own: they differ where it starts from a run of another seed."""
        return int(self.source.config.get("seed", self.seed)), self.seed

    @property
    def label(self) -> str:
        """Method, variant and seed, for display."""
        teacher = "" if self.seeds[0] == self.seed else f"of teacher seed {self.seeds[0]}"
        return " ".join(filter(None, [self.method, self.variant, f"seed {self.seed}", teacher]))

    @property
    def state(self) -> str:
        """One of finished, running, unfinished; marked if another run is counted instead."""
        state = "finished" if self.summary else "running" if self.is_running else "unfinished"
        return f"{state}, repeated: not counted" if self.is_repeated else state


def present_method(config: Row, source: Row) -> str:
    """The method of a saved config by its present name, e.g. "soar_math".

    Earlier versions called the triangle reward "learnability", and a teacher with it `intrinsic_teacher`. Questions
    sampled from a finished run that is not one of SOAR belong to the method of that run.

    Args:
      source: the config of its `source_run`; empty without one.
    """
    method = str(config["method"])
    teacher = config.get("teacher")
    reward = teacher.get("reward") if isinstance(teacher, dict) else None
    if method == "intrinsic_teacher" and reward in ("learnability", "triangle"):
        return "triangle_teacher"
    if method == "grounded_teacher" and source and source["method"] not in _METHODS_OF_SOAR:
        return present_method(source, {})
    return method


def read_runs(folders: Sequence[pathlib.Path]) -> list[Run]:
    """Reads all runs in or below folders, in the order of their paths.

    Raises:
      SettingsError: a folder does not exist or has no run.
    """
    found: dict[pathlib.Path, pathlib.Path] = {}
    for folder in folders:
        require(folder.is_dir(), f"{folder} is not a folder; name workdirs, or a folder that holds some")
        with_runs = [path for path in find_workdirs(folder) if _is_run(path)]
        require(
            bool(with_runs), f"no run in {folder}: no folder there has a config.json that names a method and a seed"
        )
        found |= {path.resolve(): path for path in with_runs}
    return _without_repeats(_with_variants([_read(path) for path in found.values()]))


def find_workdirs(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the folders with a `config.json` in or below `folder`."""
    for root, names, files in os.walk(folder):
        names.sort()
        if "config.json" in files:
            names.clear()  # workdirs are not nested
            yield pathlib.Path(root)
        names[:] = [name for name in names if not name.startswith(".")]


def _is_run(workdir: pathlib.Path) -> bool:
    config = _json(workdir / "config.json", [])
    return isinstance(config.get("method"), str) and isinstance(config.get("seed"), int)


def _read(workdir: pathlib.Path) -> Run:
    damage: list[str] = []
    problems = [row for name in ("hard_subset", "transfer") for row in _lines(workdir / f"{name}.jsonl", (), damage)]
    results, config = _results(workdir, damage), _json(workdir / "config.json", damage)
    summary = _json(workdir / "summary.json", damage, _SUMMARY)
    metrics = _lines(workdir / "metrics.jsonl", _METRICS, damage)
    ledger = _lines(workdir / "ledger.jsonl", _LEDGER, damage)
    promoted = _promoted(summary) if summary else _promoted_so_far(config, metrics)
    return Run(
        workdir=workdir,
        config=config,
        summary=summary,
        results=results,
        metrics=metrics,
        ledger=[{**row, "promoted": int((row["outer_step"], row["dataset"]) in promoted)} for row in ledger],
        curriculum=_lines(workdir / "curriculum.jsonl", _CURRICULUM, damage),
        completions=_lines(workdir / "completions.jsonl", _COMPLETIONS, damage),
        problems={str(row["id"]): row for row in problems if "id" in row},
        is_running=_is_locked(workdir / ".lock"),
        damage=tuple(damage),
        source=_source(workdir),
    )


def _results(workdir: pathlib.Path, damage: list[str]) -> dict[str, Row]:
    found = {path.stem: _json(path, damage, _RESULT) for path in sorted((workdir / "results").glob("*.json"))}
    return {name: result for name, result in found.items() if result}


def _source(workdir: pathlib.Path) -> Source:
    """Reads what a run has noted of its source, whose own folder may be gone."""
    saved = _json(workdir / "source_run.json", [])
    parts = [saved.get(name) for name in ("config", "summary", "results")]
    config, summary, results = (part if isinstance(part, dict) else {} for part in parts)
    is_whole = (
        "method" in config and "outer_steps" in summary and all(isinstance(row, dict) for row in results.values())
    )
    return Source(config=config, summary=summary, results=results) if is_whole else Source()


def _promoted(summary: Row) -> set[tuple[int, int]]:
    """Outer step and number of each dataset whose student was promoted."""
    return {(promotion["source_step"], promotion["dataset"]) for promotion in summary["promotions"]}


def _promoted_so_far(config: Row, metrics: Sequence[Row]) -> set[tuple[int, int]]:
    """As `_promoted`, of a run without a summary: replays its promotion rule.

    Empty where the rule or the rows are those of another version. Rows without `best_dataset` are older than the
    condition that `moving_average` has beside the paper's rule.
    """
    window: tuple[StepOutcome, ...] = ()
    promoted = set()
    with contextlib.suppress(SettingsError, KeyError, TypeError, ValueError):
        section = with_legacy_values(config["promotion"], PromotionSection)
        settings = read_section(PromotionSection, section, "promotion")
        if settings.rule == "moving_average" and metrics and "best_dataset" not in metrics[0]:
            settings = dataclasses.replace(settings, rule="moving_average_literal")
        for row in metrics:
            outcome = StepOutcome(
                outer_step=row["outer_step"],
                mean_reward=row["mean_reward"],
                best_reward=row["best_reward"],
                best_dataset=row["best_dataset"] if "best_dataset" in row else row["rewards"].index(row["best_reward"]),
            )
            decision = decide(window, outcome, settings)
            kept = (*window, outcome)
            window = decision.window
            promoted |= {
                (step.outer_step, step.best_dataset)
                for step in kept
                if step.outer_step == decision.promoted_step and step.best_dataset is not None
            }
    return promoted


def _json(path: pathlib.Path, damage: list[str], keys: Sequence[str] = ()) -> Row:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        value = None
    if not isinstance(value, dict) or any(key not in value for key in keys):
        damage.append(f"{path.name} is broken")
        return {}
    return value


def _lines(path: pathlib.Path, keys: Sequence[str], damage: list[str]) -> list[Row]:
    """Reads the rows that have all `keys`; broken ones are damage, except the last, which may be half-written."""
    if not path.exists():
        return []
    *lines, last = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows = [_row(line, keys) for line in lines if line]
    broken = rows.count(None)
    if broken:
        damage.append(f"{path.name} has {broken} broken lines")
    return [row for row in [*rows, _row(last, keys)] if row is not None]


def _row(line: str, keys: Sequence[str]) -> Row | None:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(line)
        if isinstance(value, dict) and all(key in value for key in keys):
            return value
    return None


def _is_locked(path: pathlib.Path) -> bool:
    """Whether a process holds the workdir's lock."""
    with contextlib.suppress(OSError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _with_variants(runs: list[Run]) -> list[Run]:
    """Sets `variant` to the result-relevant config values, except the seed, that differ within a method and scale."""
    configs = [_comparable_values(run) for run in runs]
    named = []
    for run, own in zip(runs, configs, strict=True):
        kin = [config for config in configs if config["method"] == run.method]
        scales = {config.get("scale") for config in kin}
        alike = [config for config in kin if config.get("scale") == own.get("scale")]
        keys = {key for other in alike for key in other.keys() | own.keys() if other.get(key) != own.get(key)}
        shown = [*["scale"] * (len(scales) > 1), *sorted(keys - {"seed"})]
        named.append(dataclasses.replace(run, variant=", ".join(f"{key}={own.get(key)}" for key in shown)))
    return named


def _comparable_values(run: Run) -> Row:
    """Config values that tell variants of a method apart. Of a `source_run` only its method and problems count."""
    own = flat(identity_of(run.config)) | {"method": run.method}
    if own.get("teacher.reward") == "learnability":
        own["teacher.reward"] = "triangle"  # its present name
    if own.pop("source_run", ""):
        source = run.source.config
        problems = source.get("problems", {})
        own |= {"source_run.method": source.get("method"), "source_run.problems": problems.get("source")}
    return own


def _without_repeats(runs: list[Run]) -> list[Run]:
    """Marks all but one run of each method, variant and seeds as repeated; keeps a finished one if there is one."""
    counted: dict[tuple[str, str, tuple[int, int]], Run] = {}
    for run in runs:
        known = counted.setdefault((run.method, run.variant, run.seeds), run)
        if run.summary and not known.summary:
            counted[run.method, run.variant, run.seeds] = run
    kept = {run.workdir for run in counted.values()}
    return [dataclasses.replace(run, is_repeated=run.workdir not in kept) for run in runs]


def flat(config: Row, prefix: str = "") -> Row:
    """Flattens a nested config to `section.key`: value."""
    items: Iterable[tuple[str, Any]] = config.items()
    pairs = [(f"{prefix}{key}", value) for key, value in items]
    nested = {k: v for key, value in pairs if isinstance(value, dict) for k, v in flat(value, f"{key}.").items()}
    return nested | {key: value for key, value in pairs if not isinstance(value, dict)}
