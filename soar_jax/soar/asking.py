"""A policy and the problems that it is asked, by a config."""

from __future__ import annotations

import dataclasses
from typing import Any

from soar_jax.evaluation.hard_subset import cache_key
from soar_jax.problems.loading import left_out, load_problems
from soar_jax.reporting.progress import WorkProgress
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.settings import require
from soar_jax.soar import policies
from soar_jax.soar import setup as setups
from soar_jax.soar.setup import Setup
from soar_jax.types import Problem


@dataclasses.dataclass(frozen=True)
class Asking:
    """Who is asked what."""

    policy: str  # in words
    setup: Setup  # whose start is the policy
    problems: list[Problem]
    left_out: dict[str, int]  # problems that cannot be asked or graded, by reason

    def settings(self, sampling: SamplingSettings) -> dict[str, Any]:
        """Everything that an answer depends on."""
        config = self.setup.config
        return {
            "model": self.policy,
            "params_sha256": self.setup.base_sha256,
            "dtype": self.setup.sampler.model.dtype,
            "seed": config.seed,
            "problems": config.problems.to_dict() | {"count": len(self.problems), "key": cache_key(self.problems)},
            "prompts": config.prompts.to_dict(),
            "grading": config.grading.to_dict(),
            "sampling": dataclasses.asdict(sampling),
        }


def prepare(config: Any, model: str, progress: WorkProgress) -> Asking:
    """Loads a policy (see `policies.load`) and at most `hard_subset.num_candidates` of the config's problems.

    Raises:
      SettingsError: the config or the model is not usable, or no problem fits.
    """
    policy = policies.load(model, config.model.dtype)
    setup = setups.build(config, policy.model)
    problems = load_problems(config.problems, "problems", config.hard_subset.num_candidates)
    fitting = [problem for problem in problems if setup.sampler.fits(problem.question)]
    longest = max(setup.sampler.prompts.bucket_tokens)
    require(bool(fitting), f"no problem fits into the largest of prompts.bucket_tokens, {longest}; raise it")
    unfit = {f"longer than {longest} tokens or with special tokens": len(problems) - len(fitting)}
    asking = Asking(
        policy.name, setup, fitting, left_out(config.problems) | (unfit if len(fitting) < len(problems) else {})
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in asking.left_out.items())
    progress.say(f"{policy.name} is asked {len(fitting)} problems{f'; left out: {reasons}' if reasons else ''}")
    return asking
