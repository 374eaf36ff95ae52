"""The list of a run's calls against the calls that small runs make."""

import inspect
import json
import signal
import sys
from collections import Counter

import jax
import pytest
from etils import epath

from soar_jax.evaluation.embedding import mean_pooled
from soar_jax.integers import ceil_div
from soar_jax.rl.population import (
    changed_shares,
    init_population,
    policy_reference_logprobs,
    population_reference_logprobs,
    take_student,
    update_policy,
    update_population,
)
from soar_jax.runs import run as runs
from soar_jax.runs.calls import END, PROMOTION, START, STEP, Sizes, run_calls
from soar_jax.sampling.sharded import sample_policy, sample_population
from soar_jax.soar import outer_step
from tests.configs import make_config
from tests.experiments.runs import TINY

# The shape of one call, from the arguments of the compiled program.
PROGRAMS = {
    "sample_policy": (sample_policy, lambda given: (1, *draw_of_prompts(given))),
    "sample_population": (sample_population, lambda given: (num_policies(given), *draw_of_prompts(given))),
    "update_policy": (update_policy, lambda given: (1, *given["batch"].advantages.shape)),
    "update_population": (update_population, lambda given: given["batches"].advantages.shape),
    "policy_reference_logprobs": (
        policy_reference_logprobs,
        lambda given: (1, *given["rollouts"].lengths.shape),
    ),
    "population_reference_logprobs": (
        population_reference_logprobs,
        lambda given: given["rollouts"].lengths.shape,
    ),
    "init_population": (init_population, lambda given: (given["size"],)),
    "changed_shares": (changed_shares, lambda given: (len(jax.tree.leaves(given["weights"])[0]),)),
    "take_student": (take_student, lambda given: (len(jax.tree.leaves(given["weights"])[0]),)),
    "mean_pooled": (mean_pooled, lambda given: given["prompts"].lengths.shape),
}
# A wave's best student is taken only if it is better than the waves' before; questions that cannot be parsed, and those
# of the final students, are not among the listed embeddings.
AT_MOST = ("take_student", "mean_pooled")
WAVES = {"inner.students_at_once": 1, "mesh.population": 1, "mesh.fsdp": 2}
PROMOTES = {
    "num_outer_steps": 2,
    "promotion.rule": "moving_average_literal",  # promotes also what gained nothing
    "promotion.threshold": -1.0,
    "promotion.window": 1,
}
KL = {"kl": "k1_in_reward", "kl_coef": 0.01}
FEW = {"evaluation.num_samples": 6, "evaluation.pass_at": (1,), "outer.reward_samples": 3}
RUNS = {
    "promotions": (
        "soar_math",
        {
            "student.updates_per_batch": 2,
            "student.clip_ratio": 0.2,
            "student.kl_coef": 0.01,
            "final.students": ("curriculum", "promoted"),
        }
        | WAVES
        | PROMOTES,
    ),
    "votes": (
        "intrinsic_teacher",
        {"num_outer_steps": 1, "analysis.judge": "self_consistency", "analysis.judge_questions": 9},
    ),
    "self-play": ("serl", {"final.num_steps": 4, "final.test_every": 4}),
    # No validation set and no transfer; episodes of 2 and 3 steps; tests at 2 and 4 of 6 steps.
    "paper": (
        "soar_math",
        {
            "hard_subset.validation_share": 0.0,
            "transfer.source": "none",
            "inner.steps_per_promotion": 1,
            "teacher.malformed": "resample",
            "final.students": ("curriculum", "hard_only"),
            "final.num_steps": 6,
            "final.report_at": "step",
            "final.report_step": 4,
            "final.test_every": 2,
            "curriculum.schedule": "warm_start",
            "curriculum.warm_start_steps": 3,
        }
        | {f"{policy}.{key}": value for policy in ("student", "teacher") for key, value in KL.items()}
        | PROMOTES,
    ),
}


def num_policies(given):
    return len(given["prompts"].lengths) + (given.get("one_more") is not None)


def draw_of_prompts(given):
    settings = given["settings"]
    draw = (given["samples_per_prompt"], settings.max_completion_tokens, settings.temperature)
    return given["prompts"].lengths.shape[-1], *draw


def listed(call):
    """The shape of one of a listed call's calls."""
    if call.updates or call.is_reference:
        return call.policies_per_call, call.prompts_per_call * call.samples
    if not call.samples:
        return (call.prompts_per_call if call.program == "mean_pooled" else call.policies_per_call,)
    prompts = call.prompts_per_call
    if call.program == "sample_population":  # its calls are evened out, a single policy's are padded
        prompts = ceil_div(call.prompts, ceil_div(call.prompts, prompts))
    return call.policies_per_call, prompts, call.samples, call.max_tokens, call.temperature


@pytest.fixture
def made(monkeypatch):
    """Counts the calls of compiled programs by part of the run, program and shape."""
    calls, parts = Counter(), [START]
    for name, (program, shape_of) in PROGRAMS.items():
        counted = counting(calls, parts, name, program, shape_of)
        # All that call them; to lower them calls nothing.
        names = {name for name in sys.modules if name.startswith("soar_jax.")} - {"soar_jax.runs.programs"}
        for module in map(sys.modules.get, names):
            for attribute in [key for key, value in vars(module).items() if value is program]:
                monkeypatch.setattr(module, attribute, counted)
    for module, name, part in ((runs, "search", STEP), (outer_step, "promote", PROMOTION), (runs, "evaluate_run", END)):
        monkeypatch.setattr(module, name, during(parts, part, getattr(module, name)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # leaves this process's handlers alone
    return calls


def counting(calls, parts, name, program, shape_of):
    signature = inspect.signature(program)

    def counted(*args, **kwargs):
        calls[parts[-1], name, shape_of(signature.bind(*args, **kwargs).arguments)] += 1
        return program(*args, **kwargs)

    return counted


def during(parts, part, function):
    def called(*args, **kwargs):
        parts.append(part)
        try:
            return function(*args, **kwargs)
        finally:
            parts.pop()

    return called


def sizes_of(workdir, config):
    """What the run has found out."""
    _, *candidates = map(json.loads, (workdir / "hard_subset.jsonl").read_text().splitlines())
    num_hard = sum(row["num_correct"] == 0 for row in candidates)
    steps = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return Sizes(
        hard_share=num_hard / config.hard_subset.num_candidates,
        num_promotions=sum(row["promoted"] for row in steps),
        accepted_share=min([row["valid_share"] for row in steps], default=1.0),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("method", "changes"), RUNS.values(), ids=RUNS)
def test_run_makes_the_listed_calls(method, changes, made, tmp_path):
    config = make_config(method, **TINY | FEW | changes)
    runs.run(config, epath.Path(tmp_path))
    check_calls(made, config, sizes_of(tmp_path, config))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grounded_teacher", "inference"])
def test_a_run_from_a_finished_one_makes_the_listed_calls(method, made, tmp_path):
    first = make_config("soar_math", **TINY | FEW | PROMOTES | {"final.students": ()})
    runs.run(first, epath.Path(tmp_path / "first"))
    made.clear()
    config = make_config(method, **TINY | FEW | {"num_outer_steps": 0, "source_run": str(tmp_path / "first")})
    runs.run(config, epath.Path(tmp_path / "second"))
    # The second run takes over what the first has found out about the problems.
    check_calls(made, config, sizes_of(tmp_path / "first", config), without="finding the hard subset")


def check_calls(made, config, sizes, without=None):
    """Compares the calls that a run has made with those listed."""
    expected = Counter()
    for call in run_calls(config, sizes):
        if call.phase.name != without:
            expected[call.phase.part, call.program, listed(call)] += call.num_calls
    exact = {key: count for key, count in made.items() if key[1] not in AT_MOST}
    assert exact == {key: count for key, count in expected.items() if key[1] not in AT_MOST}
    for key, count in made.items() - exact.items():
        assert key[0] == END or count <= expected[key]
