"""Plans a study: its runs, all checked before the first one starts."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import urllib.parse
from collections.abc import Sequence

import ml_collections
from absl import flags
from etils import epath
from ml_collections import config_flags

from soar_jax.config import cross_rules, method_file
from soar_jax.config.methods import METHODS, method_config
from soar_jax.config.reading import one_line_errors, read_config
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError, require
from soar_jax.runs.workdir import check_workdir

PAPER_METHODS = (
    "soar_math",
    "hard_only",
    "hard_only_large_group",
    "base_teacher",
    "intrinsic_teacher",
    "grounded_teacher",
    "no_promotion",
    "inference",
    "serl",
    "curated",
    "frozen_teacher",  # not the paper's: the control for learning to teach
)
QUICK_METHODS = ("soar_math", "hard_only", "base_teacher", "intrinsic_teacher")  # the paper's findings 1 and 2
QUICK_SEEDS = "3"
SOURCE = "soar_math"  # the method whose finished runs others start from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One run."""

    name: str  # for display
    config: RunConfig
    workdir: pathlib.Path
    arguments: tuple[str, ...]  # of `python`
    source: pathlib.Path | None = None  # workdir of the run that it starts from, which must have ended before

    @property
    def log(self) -> pathlib.Path:
        """File with the run's output."""
        return self.workdir / "log.txt"

    @property
    def is_finished(self) -> bool:
        return _is_finished(self.workdir)


def plan(
    methods: Sequence[str],
    scale: str,
    seeds: Sequence[int],
    out: pathlib.Path,
    common: Sequence[str] = (),
    sweep: Sequence[str] = (),
) -> list[Job]:
    """All jobs of a study, seed by seed, so that one that was interrupted has whole seeds.

    A method whose `source_run` is unset starts from the run of SOAR of its seed and variant.

    Args:
      methods: names of registered methods.
      common: `KEY=VALUE`, config values of all runs.
      sweep: `KEY=V1,V2`; a run for every combination of values.

    Raises:
      SettingsError: a name, key or value cannot be used, a workdir holds another config's run, or there is no run to
        start from.
    """
    require(len(set(methods)) == len(methods), f"--methods={','.join(methods)} has a method twice")
    variants = [tuple(pairs) for pairs in itertools.product(*map(parse_sweep, sweep))]
    _check_keys([_key(text) for text in (*common, *sweep)])
    study = _Study(scale=scale, common=tuple(common), out=out, makes_source=SOURCE in methods)
    jobs = [
        _job(study, method, seed=seed, variant=variant) for seed in seeds for variant in variants for method in methods
    ]
    planned = {job.workdir for job in jobs}
    for job in jobs:
        check_workdir(epath.Path(job.workdir), job.config)
        require(
            job.source is None or job.source in planned or _is_finished(job.source),
            f"{job.name} starts from a finished run of {SOURCE}, and {job.source} is none; add {SOURCE} to --methods",
        )
    return jobs


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Study:
    """What all jobs of a study share."""

    scale: str
    common: tuple[str, ...]
    out: pathlib.Path
    makes_source: bool  # whether runs of `SOURCE` are among the jobs

    def workdir(self, method: str, seed: int, variant: tuple[str, ...]) -> pathlib.Path:
        """The workdir of a run."""
        folder = urllib.parse.quote(",".join(variant), safe="=,.()+-_ ")
        return self.out / method / folder / f"seed{seed}"

    def source(self, seed: int, variant: tuple[str, ...]) -> pathlib.Path:
        """The workdir of the run of `SOURCE` that others of a seed and variant start from.

        It is the run without the variant where an earlier command has finished only that one: thus what final students
        alone depend on can be swept.
        """
        own, plain = (self.workdir(SOURCE, seed, values) for values in (variant, ()))
        return plain if not self.makes_source and not _is_finished(own) and _is_finished(plain) else own


def _job(study: _Study, method: str, seed: int, variant: tuple[str, ...]) -> Job:
    require(method in METHODS, f"there is no method {method!r}; choose from {', '.join(sorted(METHODS))}")
    values, source = [f"seed={seed}", *study.common, *variant], None
    if method_config(method, study.scale).source_run == cross_rules.UNSET and "source_run" not in map(_key, values):
        source = study.source(seed, variant)
        values.append(f"source_run={source}")
    overrides = tuple(f"--config.{value}" for value in values)
    config = _parse((f"--config={method_file.__file__}:{method}:{study.scale}", *overrides))
    workdir, name = study.workdir(method, seed, variant), f"{method}:{study.scale}"
    return Job(
        name=" ".join([method, *variant, f"seed {seed}"]),
        config=config,
        workdir=workdir,
        arguments=("-m", "soar_jax.cli.main", "run", f"--config={name}", *overrides, f"--workdir={workdir}"),
        source=source,
    )


def _is_finished(workdir: pathlib.Path) -> bool:
    return (workdir / "summary.json").exists()


def _key(text: str) -> str:
    """The key of `KEY=VALUE`."""
    return text.partition("=")[0]


def _parse(arguments: Sequence[str]) -> RunConfig:
    """The config that the program `run` would make of these arguments."""
    own, argv = flags.FlagValues(), ["study", *arguments]
    holder = config_flags.DEFINE_config_file("config", None, "", flag_values=own, sys_argv=argv)
    with one_line_errors():
        own(argv)
        values = ml_collections.FrozenConfigDict(holder.value)
    return read_config(values)


def parse_sweep(text: str) -> list[str]:
    """Splits `KEY=V1,V2` into `KEY=V1` and `KEY=V2`; commas in brackets belong to a value."""
    key, equals, rest = text.partition("=")
    require(bool(key and equals and rest), f"--sweep={text} is not KEY=VALUE,VALUE")
    values, depth = [""], 0
    for character in rest:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    require(all(values), f"--sweep={text} has an empty value")
    require(len(set(values)) == len(values), f"--sweep={text} has a value twice")
    return [f"{key}={value}" for value in values]


def _check_keys(keys: Sequence[str]) -> None:
    twice = sorted({key for key in keys if keys.count(key) > 1})
    require(not twice, f"{', '.join(twice)} is given twice; name a key once in --set and --sweep")
    require("seed" not in keys, "seed cannot be set or swept; use --seeds")


def parse_seeds(text: str) -> list[int]:
    """Parses `5` as the seeds 0 to 4, and `0,3,7` (or `7,`) as just these.

    Raises:
      SettingsError: the text is neither.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise SettingsError(f"--seeds={text}: give a number of seeds, or seeds as in 0,3,7") from None
    seeds = numbers if "," in text else list(range(numbers[0])) if numbers else []
    require(bool(seeds) and min(seeds) >= 0, f"--seeds={text} names no seed")
    require(len(set(seeds)) == len(seeds), f"--seeds={text} names a seed twice")
    return seeds
