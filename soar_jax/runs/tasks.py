"""A policy and the problems that it is asked, by a config."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax

from soar_jax.evaluation.hard_subset import cache_key
from soar_jax.parallel import processes
from soar_jax.problems.sources import left_out, load_problems, num_beyond
from soar_jax.runs.interrupts import Interrupts
from soar_jax.runs.progress import WorkProgress
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.settings import require, what, with_dtype
from soar_jax.runs import out_folder, policies
from soar_jax.runs import build as setups
from soar_jax.runs.build import Setup
from soar_jax.types import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalTask:
    """Who is asked what."""

    policy: str  # in words
    setup: Setup  # whose start is the policy
    problems: list[Problem]
    left_out: dict[str, int]  # problems that cannot be asked or graded, by reason
    progress: WorkProgress

    def settings(self, sampling: SamplingSettings) -> dict[str, Any]:
        """Everything that an answer depends on."""
        config = self.setup.config
        return {
            "model": self.policy,
            "params_sha256": self.setup.base_sha256,
            "dtype": self.setup.sampler.model.dtype,
            "int8_cache": self.setup.sampler.model.int8_cache,
            "seed": config.seed,
            "problems": config.problems.to_dict() | {"count": len(self.problems), "key": cache_key(self.problems)},
            "prompts": config.prompts.to_dict(),
            "grading": what(config.to_dict())["grading"],
            "sampling": dataclasses.asdict(sampling),
        }


def prepare(config: Any, model: str, out: pathlib.Path, unit: str) -> EvalTask:
    """Loads a policy (see `policies.load`) and at most `hard_subset.num_candidates` of the config's problems.

    Stop signals are heeded from here on, and a folder for the results that holds other things is refused first.

    Args:
      unit: what the progress counts, in words.

    Raises:
      SettingsError: the config, the model or the folder is not usable, or no problem fits.
    """
    out_folder.check(out)
    progress = WorkProgress(unit, Interrupts())
    config = with_dtype(config, jax.devices()[0].platform)
    processes.assert_equal("the config", config.to_dict())
    setups.check(config, trains=False)  # this and the problems now, not after a model has come from afar
    limit = config.hard_subset.num_candidates
    problems = load_problems(config.problems, "problems", limit)
    policy = policies.load(model, config.model.dtype)
    setup = setups.build(config, policy.model, trains=False)
    fitting = fitting_problems(setup, problems)
    beyond = num_beyond(config.problems, limit)
    reasons = left_out(config.problems) | ({f"beyond hard_subset.num_candidates = {limit}": beyond} if beyond else {})
    if len(fitting) < len(problems):
        reasons = reasons | {why_unfit(setup): len(problems) - len(fitting)}
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    progress.say(f"{policy.name} is asked {len(fitting)} problems{f'; left out: {counted}' if counted else ''}")
    return EvalTask(policy=policy.name, setup=setup, problems=fitting, left_out=reasons, progress=progress)


def why_unfit(setup: Setup) -> str:
    """Why a problem cannot be asked, in words."""
    return f"longer than {max(setup.sampler.prompts.bucket_tokens)} tokens or with special tokens"


def fitting_problems(setup: Setup, problems: list[Problem]) -> list[Problem]:
    """Problems whose prompts fit into the buckets.

    Raises:
      SettingsError: none does.
    """
    fitting = [problem for problem in problems if setup.sampler.fits(problem.question)]
    longest = max(setup.sampler.prompts.bucket_tokens)
    require(bool(fitting), f"no problem fits into the largest of prompts.bucket_tokens, {longest}; raise it")
    return fitting
