"""Throughput and utilization of a run's phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soar_jax.telemetry.devices import Peaks
from soar_jax.telemetry.meter import Work


def step_timings(step_s: float, seconds: Mapping[str, float], work: Mapping[str, Work], peaks: Peaks) -> dict[str, Any]:
    """Returns an outer step's row of `timings.jsonl`.

    Args:
      step_s: wall-clock seconds of the step.
      seconds: wall-clock seconds per phase.
      work: device work per phase; phases without any may be missing.

    Returns:
      `step_s`; sampled `tokens_per_s`; `device_idle_share`, the fraction of the step in which no program ran; and per
      phase its seconds `s` and, if it used the devices, `tokens_per_s`, `device_idle_share`, `mfu` (model FLOPs over
      peak FLOPs) and `decoding_bandwidth` (bytes that decoding must read over peak bandwidth; above 1 if they fit in a
      CPU cache).
    """
    total = sum(work.values(), Work())
    return {
        "step_s": step_s,
        "tokens_per_s": total.sampled_tokens / step_s,
        "device_idle_share": max(0.0, 1 - total.busy_s / step_s),
        "phases": {name: {"s": phase_s, **_phase(phase_s, work.get(name), peaks)} for name, phase_s in seconds.items()},
        "peaks": "measured" if peaks.are_measured else "vendor's",
    }


def _phase(phase_s: float, work: Work | None, peaks: Peaks) -> dict[str, float]:
    if work is None or phase_s == 0:
        return {}
    mfu, bandwidth = peaks.utilization(work.flops, work.decoding_bytes, phase_s)
    return {
        "tokens_per_s": work.sampled_tokens / phase_s,
        "device_idle_share": max(0.0, 1 - work.busy_s / phase_s),
        "mfu": mfu,
        "decoding_bandwidth": bandwidth,
    }
