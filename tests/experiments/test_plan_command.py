"""The plan through the command line."""

import json

import pytest

from soar_jax.checkpoints import known_shapes
from soar_jax.telemetry import costs
from tests.experiments.runs import run_program

FLAGS = ("--topology=v6e:4x4", "--json", "--tokens_per_s=500")


def lines(scale, *more):
    code, out, err = run_program("plan", f"--config=configs/soar_math.py:{scale}", *FLAGS, *more)
    assert code == 0, err
    *phases, total = [json.loads(line) for line in out.splitlines()]
    return {phase["phase"]: phase for phase in phases}, total["total"]


@pytest.mark.parametrize(("scale", "num_rows", "group", "prompt", "widths", "remat", "has_kl"), [
    ("nano", 16 * 10 * 4 * 16, 16, 15, (27,), "none", False),
    ("llama3.2-3b", 16 * 10 * 8 * 32, 32, 256, tuple(range(128, 1025, 128)), "dots", True),  # an eighth each
])  # fmt: skip
# Many parameters: a table of sizes.
def test_totals_are_those_counted_by_hand(scale, num_rows, group, prompt, widths, remat, has_kl):
    mesh = ("--config.mesh.population=4", "--config.mesh.fsdp=-1")  # nano's own is for the halves of a CPU
    phases, total = lines(scale, "--promotions=0", *mesh * (scale == "nano"))  # all episodes have 10 steps
    source, dtype = {
        "nano": ("embedded:nano", "float32"),
        "llama3.2-3b": ("meta-llama/Llama-3.2-3B-Instruct", "bfloat16"),
    }[scale]
    answers, updates = phases["students' answers"], phases["students' updates"]
    tokens = num_rows * round(widths[-1] / 2)
    assert (answers["rollouts"], answers["sampled_tokens"]) == (num_rows, tokens)
    assert answers["seconds"] == pytest.approx(tokens / (16 * 500))
    model = known_shapes.shape_of(source, dtype)
    flops = sum(
        costs.training_flops(model, prompt, completion_tokens=width, remat=remat, num_completions=group)
        + has_kl * costs.reference_flops(model, prompt, width, num_completions=group)
        for width in widths
    )
    flops *= num_rows / group / len(widths)
    assert updates["training_flops"] == pytest.approx(flops)
    assert updates["seconds"] == pytest.approx(flops / (16 * 0.4 * 918e12))
    seconds = sum(phase["repeats"] * phase["seconds"] for phase in phases.values())
    assert total["seconds"] == pytest.approx(seconds)
    assert total["chip_hours"] == pytest.approx(16 * seconds / 3600)
    assert total["paper_gpu_hours"] == [1536, 1920]
    assert total["usd"] == pytest.approx(2.7 * total["chip_hours"])


def test_the_table_names_phases_and_assumptions(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(known_shapes.KNOWN_SHAPES["Qwen/Qwen3-1.7B"]))
    code, out, err = run_program(
        "plan",
        "--config=configs/soar_math.py:llama3.2-3b",
        "--topology=h100:8",
        f"--model_config={tmp_path / 'config.json'}",
        "--price=1.5",
        "--config.lora.rank=16",
    )
    assert code == 0, err
    for part in ("students' answers", "an outer step", "the whole run", "USD at 1.50 USD a chip-hour", "assumed:"):
        assert part in out
    assert "does not fit" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--topology=v6e:4x4",), "--config is missing"),
        (("--config=configs/soar_math.py",), "JAX sees 2 x 'cpu' here"),
        (("--config=configs/soar_math.py", "--topology=v6e"), "has not the form DEVICE:CHIPS"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    code, out, err = run_program("plan", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
