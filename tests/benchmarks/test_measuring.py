import dataclasses
import json
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.interleave import interleave, ratio, shown
from benchmarks.report import Section, SuiteReport
from benchmarks.suites import grading, outer_step, rl_step, sampler, start
from soar_jax.checkpoints.base_model import EMBEDDED, load_model
from soar_jax.grading.grader import Grader, Verdict
from soar_jax.telemetry.devices import Peaks
from soar_jax.telemetry.meter import Work
from soar_jax.telemetry.timings import step_timings

PEERS = pathlib.Path(__file__).parents[2] / "benchmarks" / "peers"


def test_sides_are_interleaved_after_a_warm_up_round():
    calls = []

    def side(name):
        return lambda number: calls.append(f"{name}{number}") or number

    found = interleave({"a": side("a"), "b": side("b")}, rounds=2)
    assert calls == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert found == {"a": [1, 2], "b": [1, 2]}


def test_ratio_pairs_the_rounds():
    assert ratio([10.0, 1.0, 4.0], [5.0, 1.0, 1.0]) == 2.0


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (1.23456, "1.23"), (0.0, "0"), (1200, "1,200"), (True, "True"), ("a", "a")]
)
def test_table_values_are_rounded(value, text):
    assert shown(value) == text


def test_report_records_rows_and_has_one_heading(tmp_path):
    environment = {"date": "2026-01-02 03:04", "versions": {"jax": "1.2"}}
    report = SuiteReport(suite="sampler", command="python run.py", environment=environment, folder=tmp_path)
    text = report.add(Section(title="first", rows=[{"batch": 1, "rate": 2.5}]), keep=True)
    text += report.add(Section(title="second", rows=[{"batch": 3, "rate": 4.5}], note="Medians."), keep=True)
    report.add(Section(title="third", rows=[{"batch": 5}]), keep=False)
    assert text.count("## sampler, 2026-01-02") == 1
    assert "| batch | rate |\n| --- | --- |\n| 1 | 2.5 |\n" in text
    assert "Medians.\n\n| batch" in text
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(row["table"], row["batch"]) for row in rows] == [("first", 1), ("second", 3)]
    assert rows[0]["environment"] == environment
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_worker_answers_errors_and_sends_prints_to_stderr():
    script = f"""
import sys
from types import SimpleNamespace
sys.path.insert(0, {str(PEERS)!r})
import serve
def double(number):
    print("noise")
    return {{"number": 2 * number}}
serve.serve({{"double": double}})
"""
    requests = "".join(json.dumps({"do": "double", "number": number}) + "\n" for number in (3, None))
    done = subprocess.run([sys.executable, "-c", script], input=requests, capture_output=True, text=True, check=True)
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"number": 6}
    assert "TypeError" in second["error"]
    assert "noise" in done.stderr


def test_stop_tokens_give_the_mean_length():
    tokens = np.repeat([7, 8, 9, 10], [50, 30, 12, 8])
    assert sampler.stops_for_mean_length(tokens, mean=5) == (9, 10)


def test_pairs_to_grade_are_distinct_and_labelled_right():
    pairs = grading.pairs(300)
    assert len(set(pairs)) == 300
    assert 0.2 < np.mean([pair.same for pair in pairs]) < 0.8
    made = [pair for pair in pairs if "x^2" in pair.gold or "frac" in pair.gold][:60]
    verdicts = Grader(extraction=("boxed",), equivalence="math").compare(
        [pair.answer for pair in made], [pair.gold for pair in made]
    )
    assert [verdict is Verdict.CORRECT for verdict in verdicts] == [pair.same for pair in made]


def test_outer_step_table_summarises_the_timings():
    peaks = Peaks(flops_per_s=100.0, bytes_per_s=10.0, are_measured=False)
    work = {"sampling": Work(sampled_tokens=40, flops=50.0, busy_s=1.5)}
    steps = [step_timings(2.0 + s, {"grading": s, "sampling": 2.0}, work=work, peaks=peaks) for s in (1.0, 2.0, 3.0)]
    section = outer_step.table(steps)
    assert section.title.startswith("nano: an outer step of 4.0 s, 10 sampled tokens/s")
    assert section.rows == [
        {"phase": "grading", "s": 2.0, "share, %": 50.0, "devices idle, %": 100.0},
        {"phase": "sampling", "s": 2.0, "share, %": 50.0, "devices idle, %": 25.0},
    ]


def test_phases_of_a_start_end_at_their_lines():
    times = iter([0.0, 4.0, 15.0, 35.0])
    lines = ["=== start ===", "mesh: population 2", "381 of 384 problems were solved 0 times in 128", "compiled: x"]
    lines += ["step   1/1  reward mean +0.003", "step   2/2  reward mean +0.1"]
    found = start.phase_seconds(lines, lambda: next(times))
    assert found == {"imports and model": 4.0, "finding hard problems": 11.0, "first outer step": 20.0}
    assert start.phase_seconds(lines[:1], lambda: 0.0) == {}


def test_samples_share_prompts():
    case = sampler.Case(batch=64, new_tokens=128, samples_per_prompt=8)
    assert (case.num_prompts, case.title) == (8, "all 128, 8 of a prompt")


@pytest.mark.parametrize(
    ("cases", "sizes"),
    [(("equal",), [(1, 8, 1), (16, 8, 1), (1, 32, 1), (16, 32, 1)]), (("shared",), [(64, 8, 8), (64, 8, 32)])],
)
def test_sampling_calls_are_those_asked_for(cases, sizes):
    options = SimpleNamespace(batches=(1, 16), new_tokens=(8, 32), cases=cases)
    found = sampler._cases(options, ours=None)
    assert [(case.batch, case.new_tokens, case.samples_per_prompt) for case in found] == sizes


def test_prompts_of_a_step_have_the_tokens_that_it_names():
    work = rl_step.work_of("nano", "")
    ours = rl_step.Ours(work=work, base=load_model(EMBEDDED, "float32"), num_devices=1)
    assert (ours.prompts.tokens.shape, work.num_rows) == ((8, 15), 128)
    long = dataclasses.replace(work, model="smollm2", prompt_tokens=128)
    assert {len(text.split()) for text in long.prompts()} == {128}  # BOS and 127 words
