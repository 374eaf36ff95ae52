"""How fast a run's phases were, against what its devices can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soar_jax.telemetry.devices import Peaks
from soar_jax.telemetry.meter import Work


def step_timings(step_s: float, seconds: Mapping[str, float], work: Mapping[str, Work], peaks: Peaks) -> dict[str, Any]:
    """An outer step's row of `timings.jsonl`.

    Args:
      step_s: seconds of the whole step, by the clock.
      seconds: of each of its phases.
      work: of each phase that had the devices do any.

    Returns:
      `step_s`; `tokens_per_s` sampled; `device_idle_share` of the step in which no program ran; and for each phase its
      seconds `s` and, where it used the devices, `tokens_per_s`, `device_idle_share`, `mfu` (operations of the model
      against the devices' peak) and `decoding_bandwidth` (bytes that decoding had to read against the peak of memory;
      above 1 where they lie in a processor's cache).
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
    mfu, bandwidth = peaks.shares(work.flops, work.decoding_bytes, phase_s)
    return {
        "tokens_per_s": work.sampled_tokens / phase_s,
        "device_idle_share": max(0.0, 1 - work.busy_s / phase_s),
        "mfu": mfu,
        "decoding_bandwidth": bandwidth,
    }
