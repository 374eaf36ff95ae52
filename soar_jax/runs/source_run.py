"""The finished run that a run starts from: its teacher, promotion questions and promoted student."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from etils import epath

from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError, require
from soar_jax.evaluation.hard_subset import HardSplit, split_hard
from soar_jax.parallel import processes
from soar_jax.runs.saved_run import check_base, read_keys, saved_config
from soar_jax.runs.workdir import has_begun
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import Progress, Promotion, RunArrays, initial_arrays
from soar_jax.storage import files, run_checkpoints
from soar_jax.storage.records import read_json, read_lines, replace_text, write_json
from soar_jax.types import Problem, normalize_question

RECORD = "source_run.json"  # of a workdir: what it was begun from
COUNTS = "hard_subset.jsonl"  # of a workdir: all candidates and how often the base model solved them
_KEYS = ("hard_subset", "inner", "lora", "model", "problems", "seed", "teacher")  # of its config
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceRun:
    """A finished run whose state another run takes over; it is only read."""

    workdir: epath.Path
    step: int  # outer step whose checkpoint is taken
    base_sha256: str  # of its base model
    record_sha256: str  # hash of that checkpoint's record, which no other checkpoint has
    progress: Progress  # at that step; promotions have only the questions that are kept
    num_unjudged: int  # promotion questions that `curriculum.keep` leaves out, since no judge has seen them
    hard_train: tuple[Problem, ...]  # its hard train and validation problems, which its teacher was rewarded on
    has_same_problems: bool  # whether both runs search the same candidates for hard problems

    def check_base(self, setup: Setup) -> None:
        """Checks that both runs have the same base model.

        Raises:
          SettingsError: its weights differ.
        """
        check_base(self.workdir, setup.config.model.source, saved_sha256=self.base_sha256, sha256=setup.base_sha256)

    def check_begun(self, workdir: epath.Path) -> None:
        """Checks that a workdir with results was begun from the same state.

        Raises:
          SettingsError: it was begun from another one.
        """
        path = workdir / RECORD
        if not has_begun(workdir) or not path.exists():
            return
        saved = read_json(path)
        require(
            isinstance(saved, dict) and (saved.get("step"), saved.get("record_sha256")) == self._state(),
            f"{workdir} was begun from another state of a finished run than source_run {self.workdir} has now at outer "
            f"step {self.step}; choose another --workdir or remove {workdir}",
        )

    def write_record(self, workdir: epath.Path) -> None:
        """Writes what a workdir is begun from: the state, and what the report says of the other run."""
        names = files.list_names(self.workdir / "results")
        results = {
            name.removesuffix(".json"): read_json(self.workdir / "results" / name)
            for name in names
            if name.endswith(".json")
        }
        costs = ("num_sampled_tokens", "num_flops")
        step, sha256 = self._state()
        record = {
            "workdir": str(self.workdir),
            "step": step,
            "record_sha256": sha256,
            "config": read_json(self.workdir / "config.json"),
            "summary": read_json(self.workdir / "summary.json"),
            "results": {name: {key: result.get(key) for key in costs} for name, result in results.items()},
        }
        write_json(workdir / RECORD, record)

    def _state(self) -> tuple[int, str]:
        return self.step, self.record_sha256

    def unseen(self, problems: Iterable[Problem]) -> list[Problem]:
        """Returns the problems that may be tested: all that the other run's teacher was not rewarded on.

        With the same candidates these are all, since both runs then split their hard problems alike.
        """
        if self.has_same_problems:
            return list(problems)
        known = {normalize_question(problem.question) for problem in self.hard_train}
        return [problem for problem in problems if normalize_question(problem.question) not in known]

    def copy_counts(self, workdir: epath.Path) -> None:
        """Copies the counts of the search for hard problems to another workdir, unless it has its own.

        Their key decides there whether they are used.
        """
        if self.has_same_problems and not processes.any_process((workdir / COUNTS).exists()):
            replace_text(workdir / COUNTS, (self.workdir / COUNTS).read_text(encoding="utf-8"))

    def check_split(self, split: HardSplit) -> None:
        """Checks that no test problem is one that the other run's teacher was rewarded on.

        Raises:
          SettingsError: there is one, since the hard problems were found with other settings.
        """
        tested = sum(split.test.contains(problem.question) for problem in self.hard_train)
        require(
            not tested,
            f"{tested} hard test problems are hard train problems of {self.workdir}, whose teacher was rewarded on "
            "them: its hard problems were found with other prompts, grading, student or hard_subset; use its settings",
        )

    def restore(self, setup: Setup) -> tuple[RunArrays, Progress]:
        """Restores the policies, and what is known of promotions; all counts of work done start at zero.

        The optimiser's state and the window are left behind, since no outer step follows.

        Raises:
          SettingsError: the checkpoint is broken.
        """
        arrays = initial_arrays(setup)
        like = {"teacher": {"weights": arrays.teacher.weights}, "baseline": arrays.baseline, "best": arrays.best}
        found = run_checkpoints.restore_parts(self.workdir / "checkpoints", self.step, like)
        teacher = dataclasses.replace(arrays.teacher, weights=found["teacher"]["weights"])
        arrays = dataclasses.replace(arrays, teacher=teacher, baseline=found["baseline"], best=found["best"])
        return arrays, dataclasses.replace(
            self.progress,
            outer_step=0,
            window=(),
            window_questions=(),
            num_idle_steps=0,
            num_sampled_tokens=0,
            num_flops=0,
            num_student_steps=0,
            file_sizes={},
        )


def find(config: RunConfig) -> SourceRun | None:
    """Reads the run that `source_run` names, without its arrays; None if the config names none.

    Raises:
      SettingsError: it is no finished run of SOAR, or this config cannot start from it.
    """
    if not config.source_run:
        return None
    workdir = files.to_path(config.source_run)
    files.check_bucket(workdir)
    source, num_steps = _finished(workdir, config)
    _check_model(workdir, source, config)
    same = (source.problems, source.hard_subset.num_candidates) == (
        config.problems,
        config.hard_subset.num_candidates,
    )
    if same:
        _check_split_keys(workdir, source, config)
    step = _chosen_step(workdir, num_steps, config.source_step)
    record = run_checkpoints.read_record(workdir / "checkpoints", step)
    progress = _progress(workdir, record, source)
    kept, num_unjudged = progress.promotions, 0
    if config.curriculum.keep != "all":
        kept, num_unjudged = _kept(workdir, progress.promotions, config.curriculum.keep)
    split = _hard_split(workdir, source)
    return SourceRun(
        workdir=workdir,
        step=step,
        base_sha256=record["base_sha256"],
        record_sha256=hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest(),
        progress=dataclasses.replace(progress, promotions=kept),
        num_unjudged=num_unjudged,
        hard_train=(*split.train, *split.validation),
        has_same_problems=same,
    )


def _finished(workdir: epath.Path, config: RunConfig) -> tuple[RunConfig, int]:
    """Reads the config of a finished run with the same teacher's reward, and how many outer steps it made."""
    saved = saved_config(workdir)
    if saved is None:
        raise SettingsError(f"source_run is {workdir}, which is no run's workdir; name that of a finished run of SOAR")
    source = read_keys(workdir, saved, _KEYS)
    theirs, own = source.teacher.reward, config.teacher.reward
    without = "" if source.trains_students else ", without students"
    require(
        theirs == own,
        f"teacher.reward is {own!r}, but source_run {workdir} was made with {theirs!r}{without}; name another run",
    )
    path = workdir / "summary.json"
    require(path.exists(), f"source_run {workdir} is not finished: it has no summary.json; finish it first")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *_BROKEN):
        raise SettingsError(
            f"{path} of source_run is broken; remove it and repeat the command of that run, which makes it again"
        ) from None
    num_steps = summary.get("outer_steps") if isinstance(summary, dict) else None
    if not num_steps or type(num_steps) is not int:
        raise SettingsError(f"source_run {workdir} made no outer step, so its teacher is the base model; name another")
    return source, num_steps


def _check_model(workdir: epath.Path, source: RunConfig, config: RunConfig) -> None:
    """Checks that both runs train the same parameters of the same model."""
    pairs: dict[str, tuple[Any, Any]] = {"model.source": (source.model.source, config.model.source)}
    if source.lora.rank or config.lora.rank:
        for key in ("rank", "scale", "layers"):
            pairs[f"lora.{key}"] = (getattr(source.lora, key), getattr(config.lora, key))
        pairs["model.dtype"] = (source.model.dtype, config.model.dtype)  # of the frozen base
    for key, (theirs, own) in pairs.items():
        require(theirs == own, f"{key} is {own!r}, but source_run {workdir} was made with {theirs!r}; use that")


def _check_split_keys(workdir: epath.Path, source: RunConfig, config: RunConfig) -> None:
    """Checks that the same hard problems are split as those that the teacher was rewarded on."""
    require(
        source.seed == config.seed,
        f"seed is {config.seed}, but source_run {workdir} was made with seed {source.seed}, whose hard train its "
        "teacher was rewarded on; use that seed, and final.num_replicas for more students",
    )
    theirs, own = source.hard_subset.validation_share, config.hard_subset.validation_share
    require(
        theirs == own,
        f"hard_subset.validation_share is {own}, but source_run {workdir}, which has the same problems, was made with "
        f"{theirs}; use that",
    )


def _chosen_step(workdir: epath.Path, num_steps: int, wanted: int) -> int:
    """Returns the outer step whose checkpoint is taken: the last one where none is wanted."""
    steps, chosen = run_checkpoints.saved_steps(workdir / "checkpoints"), wanted or num_steps
    name = f"source_step is {wanted}" if wanted else f"source_step is 0, the last of {num_steps} outer steps"
    require(bool(steps), f"source_run {workdir} has no checkpoint any more; bring its folder checkpoints back")
    require(
        chosen in steps,
        f"{name}, but source_run {workdir} keeps checkpoints of outer steps {', '.join(map(str, steps))}; choose one "
        "of them, or run it again with checkpoints.keep_every",
    )
    return chosen


def _progress(workdir: epath.Path, record: dict[str, Any], source: RunConfig) -> Progress:
    """Parses a checkpoint's progress; promotions of old records get the steps that they had."""
    try:
        progress = Progress.from_json(record["progress"])
        promotions = tuple(
            dataclasses.replace(promotion, num_steps=promotion.num_steps or source.inner.num_steps)
            for promotion in progress.promotions
        )
    except _BROKEN:
        raise SettingsError(f"{workdir} holds a run of another version of soar_jax; run it again") from None
    return dataclasses.replace(progress, promotions=promotions)


def _kept(workdir: epath.Path, promotions: tuple[Promotion, ...], name: str) -> tuple[tuple[Promotion, ...], int]:
    """Keeps the promotion questions that the run's judge called `name`, "right" or "well_posed"; counts the unjudged.

    Raises:
      SettingsError: it has judged none of them, or kept none.
    """
    path = workdir / "curriculum.jsonl"
    try:
        verdicts = {
            (row["question"], row["answer"]): row[name] for row in read_lines(path) if row.get(name) is not None
        }
    except _BROKEN:
        raise SettingsError(f"{path} is broken; bring it back as it was, or run it again") from None
    asked = [pair for promotion in promotions for pair in promotion.questions]
    judged = sum(pair in verdicts for pair in asked)
    require(
        judged > 0,
        f"curriculum.keep is {name!r}, but none of the {len(asked)} promotion questions of {workdir} was judged; use "
        "'all', or a run with another analysis.judge and with promotions",
    )
    kept = tuple(
        dataclasses.replace(
            promotion, questions=tuple(pair for pair in promotion.questions if verdicts.get(pair, False))
        )
        for promotion in promotions
    )
    require(
        any(promotion.questions for promotion in kept),
        f"curriculum.keep is {name!r}, but of the {judged} promotion questions of {workdir} that were judged none is; "
        "use 'all'",
    )
    return kept, len(asked) - judged


def _hard_split(workdir: epath.Path, source: RunConfig) -> HardSplit:
    """Splits a run's hard problems as the run did, by its file of counts."""
    path, fields = workdir / COUNTS, [field.name for field in dataclasses.fields(Problem)]
    try:
        _, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        hard = [Problem(**{name: row[name] for name in fields}) for row in rows if row["num_correct"] == 0]
    except (OSError, *_BROKEN):
        raise SettingsError(f"{path} is missing or broken; bring it back as it was, or run it again") from None
    return split_hard(hard, source.seed, source.hard_subset.validation_share)
