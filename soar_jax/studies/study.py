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

from soar_jax.config import method_file
from soar_jax.config.methods import METHODS
from soar_jax.config.reading import one_line_errors, read_config
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError, require
from soar_jax.runs.workdir import check_workdir

PAPER_METHODS = (
    "soar_math",
    "frozen_teacher",
    "hard_only",
    "base_teacher",
    "intrinsic_teacher",
    "serl",
    "curated",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One run."""

    name: str  # for display
    config: RunConfig
    workdir: pathlib.Path
    arguments: tuple[str, ...]  # of `python`

    @property
    def log(self) -> pathlib.Path:
        """File with the run's output."""
        return self.workdir / "log.txt"

    @property
    def is_finished(self) -> bool:
        return (self.workdir / "summary.json").exists()


def plan(
    methods: Sequence[str],
    scale: str,
    seeds: Sequence[int],
    out: pathlib.Path,
    common: Sequence[str] = (),
    sweep: Sequence[str] = (),
) -> list[Job]:
    """All jobs of a study, seed by seed, so that one that was interrupted has whole seeds.

    Args:
      methods: names of registered methods.
      common: `KEY=VALUE`, config values of all runs.
      sweep: `KEY=V1,V2`; a run for every combination of values.

    Raises:
      SettingsError: a name, key or value cannot be used, or a workdir holds another config's run.
    """
    require(len(set(methods)) == len(methods), f"--methods={','.join(methods)} has a method twice")
    variants = [tuple(pairs) for pairs in itertools.product(*map(_values, sweep))]
    _check_keys([text.partition("=")[0] for text in (*common, *sweep)])
    jobs = [
        _job(method, scale, seed=seed, common=common, variant=variant, out=out)
        for seed in seeds
        for variant in variants
        for method in methods
    ]
    for job in jobs:
        check_workdir(epath.Path(job.workdir), job.config)
    return jobs


def _job(method: str, scale: str, seed: int, common: Sequence[str], variant: tuple[str, ...], out: pathlib.Path) -> Job:
    require(method in METHODS, f"there is no method {method!r}; choose from {', '.join(sorted(METHODS))}")
    values = (f"seed={seed}", *common, *variant)
    overrides = tuple(f"--config.{value}" for value in values)
    config = _parse((f"--config={method_file.__file__}:{method}:{scale}", *overrides))
    folder = urllib.parse.quote(",".join(variant), safe="=,.()+-_ ")
    workdir = out / method / folder / f"seed{seed}"
    return Job(
        name=" ".join([method, *variant, f"seed {seed}"]),
        config=config,
        workdir=workdir,
        arguments=("-m", "soar_jax.cli.main", "run", f"--config={method}:{scale}", *overrides, f"--workdir={workdir}"),
    )


def _parse(arguments: Sequence[str]) -> RunConfig:
    """The config that the program `run` would make of these arguments."""
    own, argv = flags.FlagValues(), ["study", *arguments]
    holder = config_flags.DEFINE_config_file("config", None, "", flag_values=own, sys_argv=argv)
    with one_line_errors():
        own(argv)
        values = ml_collections.FrozenConfigDict(holder.value)
    return read_config(values)


def _values(text: str) -> list[str]:
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
