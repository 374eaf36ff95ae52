import csv
import fcntl
import json
import re
import shutil
import subprocess
import sys

import pytest

from soar_jax import report
from soar_jax.errors import SettingsError
from soar_jax.report import bulk
from soar_jax.report.findings import judge
from soar_jax.report.read import read_runs
from soar_jax.report.scores import find, group_runs, scores
from tests.conftest import ROOT
from tests.report.conftest import HOSTILE, write_run


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    report.write([study], out)
    return out


def test_scores_match_the_result_files(study):
    group = find(group_runs(read_runs([study])), "soar_math")
    counts = json.loads((study / "soar_math/seed1/results/curriculum.json").read_text())["tests"]["hard_test"]
    expected = [100 * (a + b) / 64 for a, b in zip(*counts["num_correct"], strict=True)]
    assert scores(group, "curriculum", test="hard_test", k=1).by_seed[1].tolist() == pytest.approx(expected)
    assert scores(group, "hard_only", test="hard_test", k=1) is None


def test_findings_match_the_scores(study):
    judged = judge(group_runs(read_runs([study])), (1, 32))
    assert [finding.holds for finding in judged] == [True, True, True, False, True]
    assert "3 seeds" in judged[0].sentences[0]
    text = " ".join(sentence for finding in judged for sentence in finding.sentences)
    assert "right answers carry the gain here" in text
    assert "-78%" in text


def test_comparisons_use_the_seeds_that_both_sides_have(study, tmp_path):
    shutil.copytree(study, tmp_path / "more")
    for seed in (3, 4):
        write_run(tmp_path / "more" / "soar_math" / f"seed{seed}", "soar_math", seed)
    few, more = (judge(group_runs(read_runs([folder])), (1, 32)) for folder in (study, tmp_path / "more"))
    for number in (0, 1, 4):  # those that compare methods
        assert few[number] == more[number]


def test_findings_are_undecided_without_their_runs(tmp_path):
    write_run(tmp_path / "only", "curated", 0)
    judged = judge(group_runs(read_runs([tmp_path])), (1, 32))
    assert [finding.verdict for finding in judged] == ["undecided"] * 5


def test_fraction_of_no_gain_is_not_judged(tmp_path):
    for method in ("soar_math", "hard_only", "curated"):
        for seed in range(3):
            folder = tmp_path / method / f"seed{seed}"
            write_run(folder, method, seed)
            for path in (folder / "results").iterdir():  # all policies of all methods get equal scores
                made = json.loads(path.read_text())
                for test in made["tests"].values():
                    test["num_correct"] = [[3] * len(test["ids"]) for _ in test["num_correct"]]
                path.write_text(json.dumps(made))
    judged = judge(group_runs(read_runs([tmp_path])), (1, 32))
    assert [finding.holds for finding in judged[-2:]] == [None, None]
    text = " ".join(sentence for finding in judged for sentence in finding.sentences)
    assert "SOAR: PS: the curated bound has no certain gain over Hard-Only at pass@1." in text
    assert "SOAR: PQ has no certain gain over Hard-Only at pass@1 to keep a share of" in text


def test_diversity_of_a_growing_set_is_not_judged(tmp_path):
    for method in ("soar_math", "intrinsic_teacher"):
        for seed in range(3):
            write_run(tmp_path / method / f"seed{seed}", method, seed, valid_share=(0.5, 0.8))
    diversity = judge(group_runs(read_runs([tmp_path])), (1, 32))[2]
    assert diversity.holds is None
    assert "SOAR: not judged, since the number of parsable questions changed by +60%" in " ".join(diversity.sentences)


def test_tables_are_written_next_to_the_page(written):
    names = {path.name for path in written.parent.iterdir()}
    assert {"report.html", "report.md", "report_hard_test.csv", "report_answer_swap.csv"} <= names
    with written.with_name("report_hard_test.csv").open() as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    assert float(rows["Hard-Only"]["pass@1"]) == pytest.approx(2, abs=0.7)
    assert float(rows["SOAR: PS"]["pass@32 low"]) > 99
    assert rows["SOAR: PQ"]["seeds"] == "3"
    assert "| SOAR: PQ | 3 | 30 |" in written.with_suffix(".md").read_text()


def test_page_needs_no_network_and_escapes_hostile_text(written):
    page = written.read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "<img" not in page
    assert HOSTILE not in written.with_suffix(".md").read_text()


def test_state_and_damage_of_runs(tmp_path):
    write_run(tmp_path / "a", "soar_math", 0)
    write_run(tmp_path / "b", "soar_math", 1, finished=False)
    with (tmp_path / "b" / "ledger.jsonl").open("a") as file:
        file.write('{"outer_step": 5, "data')  # a half-written last line is no damage
    (tmp_path / "a" / "metrics.jsonl").write_text('{"outer_step": 0}\n[[[\n' + "[" * 100_000 + "\n")
    (tmp_path / "a" / "results" / "curriculum.json").write_text('{"tests": ')
    with (tmp_path / "b" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first, second = read_runs([tmp_path])
    assert (first.state, first.damage) == (
        "finished",
        ("curriculum.json is broken", "metrics.jsonl has 3 broken lines"),
    )
    assert (second.state, second.damage) == ("running", ())
    assert len(second.ledger) == 48
    report.write([tmp_path], tmp_path / "report.html")
    assert read_runs([tmp_path / "b"])[0].state == "unfinished"


def test_variants_are_named_by_the_keys_that_differ(tmp_path):
    write_run(tmp_path / "1", "curated", 0, promotion={"threshold": 0.01})
    write_run(tmp_path / "2", "curated", 0, promotion={"threshold": 0.05})
    groups = group_runs(read_runs([tmp_path]))
    assert [group.variant for group in groups] == ["promotion.threshold=0.01", "promotion.threshold=0.05"]


def test_execution_only_keys_make_no_variant(tmp_path):
    write_run(tmp_path / "1", "curated", 0, mesh={"cpu_devices": 1}, sampling={"max_slots": 4})
    write_run(tmp_path / "2", "curated", 1, mesh={"cpu_devices": 2}, sampling={"max_slots": 8})
    (group,) = group_runs(read_runs([tmp_path]))
    assert (group.variant, [run.seed for run in group.runs]) == ("", [0, 1])


def test_runs_of_two_scales_differ_by_scale_only(tmp_path):
    write_run(tmp_path / "1", "curated", 0, outer={"num_datasets": 4})
    write_run(tmp_path / "2", "curated", 0, outer={"num_datasets": 8}, scale="llama3.2-3b")
    assert {group.variant for group in group_runs(read_runs([tmp_path]))} == {"scale=nano", "scale=llama3.2-3b"}


def test_repeated_run_counts_once(tmp_path):
    for name, seed, finished in (("a", 0, False), ("b", 0, True), ("c", 0, True), ("d", 1, True)):
        write_run(tmp_path / name, "soar_math", seed, finished=finished)
    runs = read_runs([tmp_path, tmp_path / "b"])
    (group,) = group_runs(runs)
    assert [run.workdir.name for run in group.runs] == ["b", "d"]
    states = {run.workdir.name: run.state for run in runs}
    assert states == {
        "a": "unfinished, repeated: not counted",
        "b": "finished",
        "c": "finished, repeated: not counted",
        "d": "finished",
    }


def test_each_variant_is_judged_with_its_own_controls(tmp_path):
    for size in (8, 16):
        for method in ("soar_math", "hard_only", "intrinsic_teacher", "frozen_teacher"):
            for seed in range(3):
                finished = (method, size) != ("hard_only", 16)
                folder = tmp_path / f"{method}{size}-{seed}"
                write_run(folder, method, seed, finished=finished, inner={"group_size": size})
    for seed in range(3):
        write_run(tmp_path / f"curated{seed}", "curated", seed)
    judged = judge(group_runs(read_runs([tmp_path])), (1, 32))
    first, second = judged[:5], judged[5:]
    assert all(finding.title.endswith("(inner.group_size=16)") for finding in first)
    assert all(finding.title.endswith("(inner.group_size=8)") for finding in second)
    assert first[0].holds is first[4].holds is None  # its Hard-Only has not finished
    assert first[1].holds is second[0].holds is second[4].holds is True


def test_gain_is_judged_at_the_papers_ks_only(tmp_path):
    for method in ("soar_math", "hard_only"):
        for seed in range(3):
            write_run(tmp_path / f"{method}{seed}", method, seed, evaluation={"pass_at": [1]})
    report.write([tmp_path], tmp_path / "report.html")
    assert (tmp_path / "report_answer_swap.csv").read_text().splitlines()[0].count("pass@1 low") == 1
    finding = judge(group_runs(read_runs([tmp_path])), (1,))[0]  # from the 32 samples
    assert finding.title.endswith("4× the pass@1 and 2× the pass@32 of Hard-Only")
    assert (finding.holds, len(set(finding.sentences))) == (True, 4)
    for path in tmp_path.glob("*/results/*.json"):
        made = json.loads(path.read_text())
        for test in made["tests"].values():
            test["num_samples"] = 31
            test["num_correct"] = [[min(31, count) for count in counts] for counts in test["num_correct"]]
        path.write_text(json.dumps(made))
    finding = judge(group_runs(read_runs([tmp_path])), (1,))[0]
    assert (finding.holds, len(set(finding.sentences))) == (None, 2)


def test_report_without_topics_levels_and_true_answers(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0)
    for name, unknown in {
        "metrics": {"subjects": {}, "levels": {}},
        "ledger": dict.fromkeys(("true_answer", "subject", "level", "well_posed", "right")),
    }.items():
        path = tmp_path / "run" / f"{name}.jsonl"
        rows = [json.loads(line) | unknown for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report.write([tmp_path], tmp_path / "report.html")
    assert "Topics" not in (tmp_path / "report.html").read_text().partition("<script")[0]


def test_steps_are_counted_from_one(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0)
    (run,) = read_runs([tmp_path])
    steps = [step for step in bulk.questions([run])["columns"]["step"] if step is not None]
    assert sorted(set(steps)) == [1, 2, 3, 4, 5, 6]


def test_promoted_datasets_are_those_of_the_summary(study):
    (run,) = read_runs([study / "soar_math" / "seed0"])
    assert {(row["outer_step"], row["dataset"]) for row in run.ledger if row["promoted"]} == {(2, 1)}
    assert {row["promoted"] for row in run.ledger} == {0, 1}


# Rewards of 2 datasets over 6 outer steps. With a window of 2 and tau = 0.1 the moving average exceeds tau at steps 1
# and 5 (0.15 and 0.3). It would at step 2 too, had the promotion before not cleared the window.
REWARDS = [(0.3, 0.2), (0.0, 0.1), (0.2, 0.2), (-0.6, -0.4), (0.4, 0.6), (0.1, 0.1)]


@pytest.mark.parametrize(("student", "promoted"), [("step_best", {(1, 1), (5, 0)}), ("window_best", {(0, 0), (4, 1)})])
def test_promoted_datasets_of_an_unfinished_run_are_replayed(tmp_path, student, promoted):
    section = {"threshold": 0.1, "window": 2, "student": student}  # without a rule, as older runs have it
    write_run(tmp_path / "run", "soar_math", 0, finished=False, promotion=section)
    path = tmp_path / "run" / "metrics.jsonl"
    rows = [
        json.loads(line) | {"rewards": rewards, "mean_reward": sum(rewards) / 2, "best_reward": max(rewards)}
        for line, rewards in zip(path.read_text().splitlines(), REWARDS, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = read_runs([tmp_path])
    assert {(row["outer_step"], row["dataset"]) for row in run.ledger if row["promoted"]} == promoted


@pytest.mark.parametrize("section", [None, {"rule": "of one's own"}, {"treshold": 0.1}, {"window": 1}])
def test_promotions_that_cannot_be_replayed_are_left_out(tmp_path, section):
    """A damaged config, an unknown rule, a key of another version, or rows without rewards."""
    write_run(tmp_path / "run", "soar_math", 0, finished=False, promotion=section)
    (run,) = read_runs([tmp_path])
    assert {row["promoted"] for row in run.ledger} == {0}


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"method": "x"}'])
def test_folder_without_runs_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(SettingsError, match="no run in"):
        report.write([tmp_path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_command_line(study, tmp_path):
    program = [sys.executable, "experiments/report.py"]
    out = tmp_path / "new" / "page.html"
    done = subprocess.run([*program, str(study), f"--out={out}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.exists()
    for arguments, message in ([], "name at least one workdir"), ([str(tmp_path / "no")], "is not a folder"):
        done = subprocess.run([*program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_page_of_a_large_study_is_small(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0, num_steps=200, num_questions=256)
    report.write([tmp_path], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 2 * 2**20


def test_runs_on_different_problems_are_not_paired(tmp_path):
    for method in ("soar_math", "hard_only", "curated"):
        for seed in range(3):
            write_run(tmp_path / method / str(seed), method, seed)
    path = tmp_path / "hard_only" / "0" / "results" / "hard_only.json"
    result = json.loads(path.read_text())
    result["tests"]["hard_test"]["ids"][0] = "another"
    path.write_text(json.dumps(result))
    findings = judge(group_runs(read_runs([tmp_path])), (1, 32))
    for number in (0, -1):
        assert all("2 seeds" in sentence for sentence in findings[number].sentences)
        assert findings[number].holds is None  # three seeds would be judged


@pytest.mark.parametrize("out", ["report.md", "."])
def test_output_that_is_no_html_file_is_refused(tmp_path, out):
    write_run(tmp_path / "run", "soar_math", 0)
    program = [sys.executable, "experiments/report.py", str(tmp_path), f"--out={tmp_path / out}"]
    process = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "must be the name of an .html file" in process.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
