"""Estimates a run before it starts: operations, hours and money on a topology, per phase.

    python experiments/plan.py --config=configs/soar_math.py:llama3.2-3b --topology=v6e:4x4

Loads and runs nothing. Assumptions are printed with the result, and each has a flag.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import jax
from absl import flags
from rich.console import Console
from rich.table import Table

from soar_jax.checkpoints import known_shapes
from soar_jax.cli import command
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import require
from soar_jax.planning.plan import PAPER_GPU_HOURS, Assumptions, Cost, Plan, make_plan, padded_prompt
from soar_jax.runs.calls import STEP, Sizes
from soar_jax.telemetry import devices

CONFIG = command.define_config_flag()
TOPOLOGY = flags.DEFINE_string("topology", None, "Chips, e.g. v6e:4x4 or h100:8; default: those that JAX sees here.")
MODEL_CONFIG = flags.DEFINE_string("model_config", "", "A config.json or its folder, instead of model.source.")
PRICE = flags.DEFINE_float("price", None, "USD a chip-hour; default: an assumed list price.", lower_bound=0)
JSON = flags.DEFINE_bool("json", False, "Print JSON lines: one a phase, then one with the assumptions and totals.")
HARD_SHARE = flags.DEFINE_float("hard_share", 0.2, "Share of the candidates that the base model never solves.")
PROMOTIONS = flags.DEFINE_integer("promotions", 4, "Promotions in the run, spread evenly over its outer steps.")
ACCEPTED_SHARE = flags.DEFINE_float("accepted_share", 0.5, "Share of the teacher's completions that are well formed.")
COMPLETION_SHARE = flags.DEFINE_float("completion_share", 0.5, "Mean completion, as share of max_completion_tokens.")
PROMPT_TOKENS = flags.DEFINE_integer("prompt_tokens", 0, "Padded prompt; 0: the middle one of prompts.bucket_tokens.")
TRAINED_SHARE = flags.DEFINE_float("trained_share", 1.0, "Share of the rows that have a signal and are trained on.")
MFU = flags.DEFINE_float("mfu", 0.4, "Operations done, as share of the peak, in training and prefill.")
BANDWIDTH_SHARE = flags.DEFINE_float("bandwidth_share", 0.6, "Memory traffic done, as share of the peak, in decoding.")
TOKENS_PER_S = flags.DEFINE_float(
    "tokens_per_s", 0.0, "Tokens a second that one chip samples, as measured; 0: roofline."
)

_TABLE_WIDTH = 150  # for every terminal, so that no name is cut
_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def main() -> None:
    """Prints the plan."""
    config = command.run_config(CONFIG).for_platform("tpu")  # all known topologies are of accelerators
    require(PRICE.value is None or math.isfinite(PRICE.value), f"--price is {PRICE.value}; give a number")
    if TOPOLOGY.value:
        jax.config.update("jax_platforms", "cpu")  # accelerators may be here, and another process may have them
        topology = devices.parse_topology(TOPOLOGY.value)
    else:
        topology = devices.local_topology()
    assumed = Assumptions(
        sizes=Sizes(hard_share=HARD_SHARE.value, num_promotions=PROMOTIONS.value, accepted_share=ACCEPTED_SHARE.value),
        completion_share=COMPLETION_SHARE.value,
        prompt_tokens=PROMPT_TOKENS.value,
        trained_share=TRAINED_SHARE.value,
        mfu=MFU.value,
        bandwidth_share=BANDWIDTH_SHARE.value,
        tokens_per_s=TOKENS_PER_S.value,
    )
    model = known_shapes.shape_of(config.model.source, config.model.dtype, MODEL_CONFIG.value)
    plan = make_plan(config, model, topology=topology, assumed=assumed, usd_per_chip_hour=PRICE.value)
    if JSON.value:
        _print_lines(config, plan, assumed)
    else:
        _print_tables(config, plan, assumed)


def _print_lines(config: RunConfig, plan: Plan, assumed: Assumptions) -> None:
    for phase, cost in plan.phases:
        print(json.dumps({"phase": phase.name, "part": phase.part, "repeats": phase.repeats} | _values(cost)))
    totals = {
        "method": config.method,
        "scale": config.scale,
        "device": plan.topology.device.name,
        "num_chips": plan.topology.num_chips,
        **_values(plan.total),
        "chip_hours": plan.chip_hours,
        "h100_hours": plan.h100_hours,
        "paper_gpu_hours": PAPER_GPU_HOURS,
        "usd_per_chip_hour": plan.usd_per_chip_hour,
        "usd": plan.usd,
        "state_bytes": plan.state_bytes,
        "memory_bytes": plan.memory_bytes,
    }
    print(json.dumps({"total": totals, "assumed": dataclasses.asdict(assumed)}))


def _values(cost: Cost) -> dict[str, Any]:
    return dataclasses.asdict(cost) | {"seconds": cost.seconds}


def _print_tables(config: RunConfig, plan: Plan, assumed: Assumptions) -> None:
    device, num_chips = plan.topology.device, plan.topology.num_chips
    title = f"{config.method} with {MODEL_CONFIG.value or config.model.source} on {num_chips} x {device.title}"
    table = Table(title=title, title_justify="left")
    table.add_column("phase")
    for name in (
        "times",
        "rollouts",
        "new tokens",
        "sampling FLOP",
        "bytes read",
        "training FLOP",
        "s each time",
        "h in all",
    ):
        table.add_column(name, justify="right")
    for part, group in itertools.groupby(plan.phases, lambda item: item[0].part):
        phases = list(group)
        for phase, cost in phases:
            table.add_row(*_row(phase.name, phase.repeats, cost))
        if part == STEP:
            steps = config.num_outer_steps
            each = sum((cost.times(phase.repeats) for phase, cost in phases), Cost()).over(steps)
            table.add_row(*_row("an outer step", steps, each), style="bold")
        table.add_section()
    table.add_row(*_row("the whole run", 1, plan.total), style="bold")
    console = Console(highlight=False, soft_wrap=True, width=_TABLE_WIDTH)
    console.print(table)
    low, high = PAPER_GPU_HOURS
    console.print(
        f"{plan.total.seconds / 3600:,.1f} hours; {plan.chip_hours:,.0f} chip-hours, as much as {plan.h100_hours:,.0f} "
        f"H100-hours (a run of the paper: {low:,}-{high:,})"
    )
    console.print(f"{plan.usd:,.0f} USD at {plan.usd_per_chip_hour:.2f} USD a chip-hour{_price_note()}")
    console.print(_memory_note(plan))
    console.print(_assumption_note(config, assumed))


def _row(name: str, repeats: int, cost: Cost) -> tuple[str, ...]:
    """Makes a row of the table: counts of one repeat, hours of all repeats."""
    counts = (cost.rollouts, cost.sampled_tokens, cost.sampling_flops, cost.sampling_bytes, cost.training_flops)
    hours = repeats * cost.seconds / 3600
    return name, f"{repeats:,}", *map(_short, counts), f"{cost.seconds:,.1f}", f"{hours:,.2f}"


def _short(value: float) -> str:
    """Formats a number by three digits and a power of a thousand, 41000 as `41 k`."""
    if not value:
        return "–"
    power = min(int(math.log10(value) // 3), len(_PREFIXES) - 1)
    return f"{value / 1000**power:.3g} {_PREFIXES[power]}".rstrip()


def _price_note() -> str:
    if PRICE.value is not None:
        return ""
    return f", on demand: assumed from list prices of {devices.PRICES_OF}; look yours up and give --price"


def _memory_note(plan: Plan) -> str:
    fits = plan.state_bytes <= plan.memory_bytes
    return (
        f"weights and optimisers in training take at least {plan.state_bytes / 1e9:,.1f} GB of the chips' "
        f"{plan.memory_bytes / 1e9:,.0f} GB{'' if fits else ', which does not fit: take more chips or set lora.rank'}; "
        "experiments/compile_check.py tells exactly"
    )


def _assumption_note(config: RunConfig, assumed: Assumptions) -> str:
    sampling = (
        f"{assumed.tokens_per_s:,.0f} tokens/s a chip in sampling"
        if assumed.tokens_per_s
        else f"{assumed.bandwidth_share:.0%} of the peak bandwidth in decoding, the last row as long as the limit"
    )
    return (
        f"assumed: prompts padded to {padded_prompt(config, assumed):,} tokens, completions of "
        f"{assumed.completion_share:.0%} of their limit, spread evenly, {sampling}, "
        f"{assumed.mfu:.0%} of the bfloat16 peak in training and prefill, {assumed.trained_share:.0%} of the rows "
        f"trained on, {assumed.sizes.hard_share:.0%} of the candidates hard, {assumed.sizes.num_promotions} "
        f"promotions, {assumed.sizes.accepted_share:.0%} of the teacher's completions well formed, all "
        f"{config.num_outer_steps} outer steps; grading and compilation not counted"
    )


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv)
