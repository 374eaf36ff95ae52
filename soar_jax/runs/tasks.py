"""Tasks of the programs that evaluate one policy on a benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from soar_jax.config.run_config import RunConfig
from soar_jax.errors import require
from soar_jax.evaluation.hard_search import HardSearch
from soar_jax.evaluation.hard_subset import cache_key
from soar_jax.parallel import processes
from soar_jax.problems.answer_forms import describe_impossible_answers
from soar_jax.problems.sources import left_out, load_problems, num_beyond
from soar_jax.runs import out_folder, policies
from soar_jax.runs.build import build, check_mesh
from soar_jax.runs.interrupts import Interrupts
from soar_jax.runs.progress import WorkProgress
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.soar.setup import Setup
from soar_jax.types import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalTask:
    """A policy and the problems that it is evaluated on."""

    policy: str  # description
    setup: Setup  # with the policy as its base weights
    problems: list[Problem]
    left_out: dict[str, int]  # number of problems left out, by reason
    progress: WorkProgress

    def settings(self, sampling: SamplingSettings) -> dict[str, Any]:
        """Returns everything that the answers depend on."""
        config = self.setup.config
        return {
            "model": self.policy,
            "params_sha256": self.setup.base_sha256,
            "dtype": self.setup.sampler.model.dtype,
            "int8_cache": self.setup.sampler.model.int8_cache,
            "seed": config.seed,
            "problems": config.problems.to_dict() | {"count": len(self.problems), "key": cache_key(self.problems)},
            "prompts": config.prompts.to_dict(),
            "grading": config.grading.identity(),
            "sampling": dataclasses.asdict(sampling),
        }


def prepare(config: RunConfig, model: str, out: epath.Path, unit: str) -> EvalTask:
    """Loads a policy and at most `hard_subset.num_candidates` of the config's problems, and handles stop signals.

    Args:
      model: as in `policies.load`.
      out: folder for the results; it is checked before anything is loaded.
      unit: unit of the progress display.

    Raises:
      SettingsError: the config, the model or the folder cannot be used, or no problem fits.
    """
    out_folder.check_out_folder(out)
    progress = WorkProgress(unit, Interrupts())
    config = config.for_platform(jax.devices()[0].platform)
    processes.assert_equal("the config", config.to_dict())
    check_mesh(config, trains=False)  # this and the problems first: loading a model may take long
    limit = config.hard_subset.num_candidates
    problems = load_problems(config.problems, "problems", limit)
    policy = policies.load(model, config.model.dtype)
    setup = build(config, policy.model, trains=False)
    fitting = fitting_problems(setup, problems)
    beyond = num_beyond(config.problems, limit)
    reasons = left_out(config.problems) | ({f"beyond hard_subset.num_candidates = {limit}": beyond} if beyond else {})
    if len(fitting) < len(problems):
        reasons = reasons | {why_unfit(setup): len(problems) - len(fitting)}
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    progress.say(f"{policy.name} is asked {len(fitting)} problems{f'; left out: {counted}' if counted else ''}")
    if warning := describe_impossible_answers(fitting, setup.grader):
        progress.say(f"warning: {warning}")
    return EvalTask(policy=policy.name, setup=setup, problems=fitting, left_out=reasons, progress=progress)


def hard_search(setup: Setup, problems: Sequence[Problem]) -> HardSearch:
    """Makes the search for hard problems, by the config's section `hard_subset`."""
    config, section = setup.config, setup.config.hard_subset
    return HardSearch(
        base_sha256=setup.base_sha256,
        model=setup.sampler.model,
        problems=problems,
        prompts=config.prompts,
        grading=config.grading,
        settings=setup.evaluation_sampling(section.temperature, section.top_p),
        num_samples=section.num_samples,
        samples_per_round=section.samples_per_round,
        seed=config.seed,
    )


def why_unfit(setup: Setup) -> str:
    """Describes why problems do not fit."""
    return f"longer than {max(setup.config.prompts.bucket_tokens)} tokens or with special tokens"


def fitting_problems(setup: Setup, problems: list[Problem]) -> list[Problem]:
    """Returns the problems whose prompts fit the buckets.

    Raises:
      SettingsError: none fits.
    """
    fitting = [problem for problem in problems if setup.sampler.fits(problem.question)]
    longest = max(setup.config.prompts.bucket_tokens)
    require(bool(fitting), f"no problem fits into the largest of prompts.bucket_tokens, {longest}; raise it")
    return fitting
