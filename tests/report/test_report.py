import csv
import fcntl
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from soar_jax import report
from soar_jax.errors import SettingsError
from soar_jax.report import bulk
from soar_jax.report.findings import judge
from soar_jax.report.read import read_runs
from soar_jax.report.scores import find, group_runs, scores
from tests.conftest import ROOT
from tests.report.conftest import HOSTILE, write_run


def judged_findings(*folders, ks=(1, 32)):
    """Findings of the runs in folders by their numbers, e.g. "2b"."""
    return {finding.title.split(".")[0]: finding for finding in judge(group_runs(read_runs(folders)), ks)}


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    report.write([study], out)
    return out


def test_scores_match_the_result_files(study):
    group = find(group_runs(read_runs([study])), "soar_math")
    counts = json.loads((study / "soar_math/seed1/results/curriculum.json").read_text())["tests"]["hard_test"]
    expected = [100 * (a + b) / 64 for a, b in zip(*counts["num_correct"], strict=True)]
    found = scores(group, "curriculum", test="hard_test", k=1)
    assert found.by_seed[1, 1].tolist() == pytest.approx(expected)
    assert found.by_replica[1, 1].tolist() == pytest.approx(100 * np.mean(counts["num_correct"], axis=1) / 32)
    assert found.num_solved[1, 1] == 30
    assert found.interval().sd == pytest.approx(np.std([*found.by_replica.values()], ddof=1))
    assert scores(group, "hard_only", test="hard_test", k=1) is None


def test_findings_match_the_scores(study):
    judged = judged_findings(study)
    holds = {number: finding.holds for number, finding in judged.items()}
    assert holds == {"1": True, "2": True, "2b": True, "2c": True, "3": False, "3b": True, "4": True}
    assert "3 seeds" in judged["1"].sentences[0]
    text = " ".join(sentence for finding in judged.values() for sentence in finding.sentences)
    assert "right answers carry the gain here" in text
    assert "Vendi score 2.0 of 32 questions, Base-T 8.0: 25% [25, 25] of it" in text


def test_comparisons_use_the_seeds_that_both_sides_have(study, tmp_path):
    shutil.copytree(study, tmp_path / "more")
    for seed in (3, 4):
        write_run(tmp_path / "more" / "soar_math" / f"seed{seed}", "soar_math", seed)
    few, more = (judged_findings(folder) for folder in (study, tmp_path / "more"))
    for number in ("1", "2", "2c", "4"):  # those that compare methods
        assert few[number] == more[number]


def test_findings_are_undecided_without_their_runs(tmp_path):
    write_run(tmp_path / "only", "curated", 0)
    assert {finding.verdict for finding in judged_findings(tmp_path).values()} == {"undecided"}


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
    judged = judged_findings(tmp_path)
    assert [judged[number].holds for number in ("3", "3b", "4")] == [None] * 3
    text = " ".join(sentence for finding in judged.values() for sentence in finding.sentences)
    assert "SOAR: PS: the curated bound has no certain gain over Hard-Only at pass@1." in text
    assert "SOAR: PQ has no certain gain over Hard-Only at pass@1 to keep a share of" in text


def test_diversity_is_judged_by_sets_of_one_size(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    for path in tmp_path.glob("study/grounded_teacher/*/summary.json"):
        summary = json.loads(path.read_text())
        summary["curriculum"]["vendi_size"] = 64
        path.write_text(json.dumps(summary))
    diversity = judged_findings(tmp_path / "study")["2b"]
    assert diversity.holds is None
    assert not any("Grounded-T:" in sentence for sentence in diversity.sentences)


def test_tables_are_written_next_to_the_page(written):
    names = {path.name for path in written.parent.iterdir()}
    assert {"report.html", "report.md", "report_hard_test.csv", "report_answer_swap.csv"} <= names
    with written.with_name("report_hard_test.csv").open() as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    assert float(rows["Hard-Only"]["pass@1"]) == pytest.approx(1, abs=0.7)
    assert float(rows["SOAR: PS"]["pass@32 low"]) > 99
    assert rows["SOAR: PQ"]["seeds"] == "3"
    head = written.with_suffix(".md").read_text().splitlines()[4]
    assert head.startswith("|  | pass@1 | pass@8 | pass@32 | paper | seeds |")  # what a phone shows first


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
    first, second = judged[: len(judged) // 2], judged[len(judged) // 2 :]
    assert all(finding.title.endswith("(inner.group_size=16)") for finding in first)
    assert all(finding.title.endswith("(inner.group_size=8)") for finding in second)
    assert first[0].holds is first[-1].holds is None  # its Hard-Only has not finished
    assert first[1].holds is second[0].holds is second[-1].holds is True


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


def test_questions_beyond_a_page_are_left_out_by_outer_steps(study):
    runs = [run for run in read_runs([study]) if run.method == "soar_math"]
    whole, note = bulk.packed_questions(runs)
    assert note == ""
    packed, note = bulk.packed_questions(runs, max_rows=100)
    assert "Of 204 questions" in note  # 3 x (6 steps x 4 datasets x 2 questions, and 20 of the final students)
    assert "one in 3 outer steps" in note
    assert len(packed) < len(whole)
    kept = bulk.questions(runs, stride=4)["columns"]
    steps = {step for step, promoted in zip(kept["step"], kept["promoted"], strict=True) if not promoted}
    assert steps == {1, 5, None}  # None: of final students
    assert sum(kept["promoted"][row] or 0 for row in range(len(kept["step"]))) == 3 * 2
    smallest, note = bulk.packed_questions(runs, max_bytes=1)  # cannot be reached
    assert "one in 8 outer steps" in note
    assert len(smallest) < len(packed)


def test_one_run_is_one_run(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0)
    report.write([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<title>SOAR: 1 run</title>" in page
    assert "1 runs" not in page
    assert 'class="finding"' not in page
    assert 'href="#findings"' not in page
    assert "holds here" not in (tmp_path / "report.md").read_text()


def test_findings_have_their_charts_and_others_are_named(study, tmp_path):
    for method in ("soar_math", "hard_only"):
        shutil.copytree(study / method, tmp_path / "few" / method)
    report.write([tmp_path / "few"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    articles = page.split('<article class="finding">')[1:]
    titles = [re.search(r"</span> (\d\w?)\.", article)[1] for article in articles]
    assert titles == ["1", "3", "3b"]
    assert all(article.partition("</article>")[0].count("<svg") == 2 for article in articles)  # pass@1 and pass@32
    assert "Not judged without several seeds of their methods: 2. Grounded reward" in page


def test_parts_without_values_are_left_out(tmp_path):
    write_run(tmp_path / "run", "curated", 0, finished=False)
    report.write([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert re.findall(r'<section id="(\w+)"', page) == ["results", "questions", "problems", "runs"]
    assert "<svg" not in page


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


def rows_of(path):
    """Rows of a CSV file by their names."""
    with path.open() as file:
        return {row[""]: row for row in csv.DictReader(file)}


def test_headline_has_spread_compute_and_the_papers_figures(study, written):
    rows = rows_of(written.with_name("report_hard_test.csv"))
    passed = scores(find(group_runs(read_runs([study])), "soar_math"), "curriculum", test="hard_test", k=1)
    row = rows["SOAR: PQ"]
    assert float(row["pass@1 SD"]) == pytest.approx(np.std([*passed.by_replica.values()], ddof=1))
    assert row["ever solved"] == "30 of 30"
    assert [float(row[name]) for name in ("million tokens", "PFLOPs", "device-hours")] == pytest.approx([6, 9, 0.025])
    assert row["paper"] == "1.7 (1.0) / 8.5 (3.7) / 18.9 (5.3)"
    assert rows["frozen teacher: PQ"]["paper"] == ""
    assert "paper" not in rows_of(written.with_name("report_transfer.csv"))["SOAR: PQ"]


def test_replicas_are_averaged_over_their_tests(tmp_path):
    """Tests on the way count as one student's, not as students."""
    write_run(tmp_path / "run", "curated", 0)
    path = tmp_path / "run" / "results" / "curriculum.json"
    result = json.loads(path.read_text())
    counts = [[32 * number] * 30 for number in (0, 1, 1, 0, 0, 1)]  # of 2 replicas at 3 tests
    result["tests"]["hard_test"]["num_correct"], result["tested_at"] = counts, [900, 950, 1000]
    path.write_text(json.dumps(result))
    found = scores(find(group_runs(read_runs([tmp_path])), "curated"), "curriculum", test="hard_test", k=1)
    assert found.by_replica[0, 0].tolist() == pytest.approx([100 / 3, 200 / 3])
    report.write([tmp_path], tmp_path / "report.html")
    assert rows_of(tmp_path / "report_hard_test.csv")["curated (upper bound)"]["student steps"] == "900–1000"


def test_self_play_has_rows_at_the_papers_steps(tmp_path):
    write_run(tmp_path / "run", "serl", 0, problems={"source": "harp"})
    path = tmp_path / "run" / "results" / "self_play.json"
    result = json.loads(path.read_text())
    tests = {"hard_test": {"pass@1": 0.25, "pass@8": 0.5, "pass@32": 0.75}}
    result["curve"] = [
        {"student_steps": steps, "stage": "s", "is_synthetic": True} | ({"tests": tests} if steps % 50 == 0 else {})
        for steps in range(10, 160, 10)
    ]
    path.write_text(json.dumps(result))
    report.write([tmp_path], tmp_path / "report.html")
    with (tmp_path / "report_hard_test.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row[""] == "SeRL, on the way"]
    assert [(row["student steps"], row["pass@32"], row["paper"]) for row in rows] == [
        ("50", "75.0", "0.4 (0.0) / 2.7 (0.3) / 9.7 (0.9)"),
        ("100", "75.0", "0.5 (0.0) / 3.6 (0.2) / 10.9 (0.4)"),
    ]
    assert "Tests on the way; nothing is chosen by them" in (tmp_path / "report.html").read_text()


def test_grounded_reward_is_judged_by_the_papers_baseline_alone(tmp_path):
    """The triangle reward, which earlier versions called learnability, is not the paper's."""
    for seed in range(3):
        write_run(tmp_path / f"soar{seed}", "soar_math", seed)
        write_run(tmp_path / f"old{seed}", "intrinsic_teacher", seed, teacher={"reward": "learnability"})
    groups = group_runs(read_runs([tmp_path]))
    assert [group.name for group in groups] == ["triangle teacher", "SOAR"]
    assert judged_findings(tmp_path)["2"].holds is None
    for seed in range(3):
        write_run(tmp_path / f"new{seed}", "intrinsic_teacher", seed, teacher={"reward": "absolute_zero"})
    assert judged_findings(tmp_path)["2"].holds is True
    assert len(judged_findings(tmp_path)["2"].sentences) == 3  # two ks, and the seeds that succeeded
    for seed in range(3):
        write_run(tmp_path / f"grounded{seed}", "grounded_teacher", seed)
    sentences = judged_findings(tmp_path)["2"].sentences
    assert sum("Grounded-T solves" in sentence for sentence in sentences) == 2


def test_old_and_new_triangle_teachers_are_one_variant(tmp_path):
    write_run(tmp_path / "0", "intrinsic_teacher", 0, teacher={"reward": "learnability"})
    folder = tmp_path / "1"
    write_run(folder, "intrinsic_teacher", 1)
    config = json.loads((folder / "config.json").read_text())
    values = {"method": "triangle_teacher", "teacher": {"reward": "triangle"}}
    (folder / "config.json").write_text(json.dumps(config | values))
    (group,) = group_runs(read_runs([tmp_path]))
    assert (group.name, [run.seed for run in group.runs]) == ("triangle teacher", [0, 1])


def test_runs_from_several_teachers_are_one_group(tmp_path):
    for teacher_seed in range(2):
        source = tmp_path / "source" / str(teacher_seed)
        write_run(source, "soar_math", teacher_seed, problems={"source": "math"})
        for seed in range(2):
            folder = tmp_path / "runs" / f"{teacher_seed}-{seed}"
            own = {"problems": {"source": "olympiadbench"}, "source_run": str(source)}
            write_run(folder, "grounded_teacher", seed, **own)
    (group,) = group_runs(read_runs([tmp_path / "runs"]))
    assert [run.seeds for run in group.runs] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert not any(run.is_repeated for run in group.runs)
    assert {run.label for run in group.runs} >= {"grounded_teacher seed 1", "grounded_teacher seed 1 of teacher seed 0"}
    report.write([tmp_path / "runs"], tmp_path / "report.html")
    (row,) = (row for name, row in rows_of(tmp_path / "report_hard_test.csv").items() if name == "Grounded-T")
    assert row["paper"] == "0.4 (0.2) / 2.9 (1.4) / 9.0 (4.0)"


def test_teachers_without_promotion_keep_their_methods_name(tmp_path):
    write_run(tmp_path / "source", "soar_math", 0)
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    (tmp_path / "source" / "config.json").write_text(json.dumps(config | {"method": "no_promotion"}))
    write_run(tmp_path / "run", "grounded_teacher", 0, source_run=str(tmp_path / "source"))
    (run,) = read_runs([tmp_path / "run"])
    assert run.method == "no_promotion"


def test_inference_is_judged_beside_the_promoted_student(tmp_path):
    for seed in range(3):
        write_run(tmp_path / str(seed), "inference", seed)
    found = judged_findings(tmp_path)["3b"]
    assert found.holds is True
    assert "SOAR, inference: trained teacher solves 0.0%" in found.sentences[0]
    for path in tmp_path.glob("*/results/trained_teacher.json"):
        path.write_text(path.with_name("promoted_student.json").read_text())
    assert judged_findings(tmp_path)["3b"].holds is False


def test_structure_is_judged_by_both_of_its_controls(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    for method in ("correct_only", "well_posed_only"):
        for seed in range(3):
            write_run(tmp_path / "study" / method / f"seed{seed}", method, seed)
    found = judged_findings(tmp_path / "study")["3"]
    assert found.holds is False  # random answers keep nothing
    assert "Trained on all well-posed promotion questions, students solve 89.5%" in found.sentences[-1]
    for path in tmp_path.glob("study/soar_math/*/results/random_answers.json"):
        path.write_text(path.with_name("curriculum.json").read_text())
    assert judged_findings(tmp_path / "study")["3"].holds is True


def test_questions_table_has_classes_where_a_judge_gave_them(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0)
    report.write([tmp_path], tmp_path / "report.html")
    (row,) = rows_of(tmp_path / "report_questions.csv").values()
    assert "logic, %" not in row
    assert "Vendi 28.33 (1.55)" in row["paper"]
    path = tmp_path / "run" / "summary.json"
    summary = json.loads(path.read_text())
    summary["curriculum"] |= {"error_classes": {"none": 0.75, "logic": 0.25}, "vendi_sd": 0.5, "vendi_size": 128}
    path.write_text(json.dumps(summary))
    report.write([tmp_path], tmp_path / "report.html")
    (row,) = rows_of(tmp_path / "report_questions.csv").values()
    assert (row["logic, %"], row["ambiguous, %"], row["its SD"], row["of questions"]) == ("25.0", "0.0", "0.5", "128")


def test_outer_loop_and_hard_subsets_have_tables(study, written):
    row = rows_of(written.with_name("report_dynamics.csv"))["SOAR"]
    names = ("least reward × 100", "greatest", "promotions", "first at step")
    assert [float(row[name]) for name in names] == pytest.approx([1, 4, 1, 3])
    with written.with_name("report_subsets.csv").open() as file:
        (subset,) = csv.DictReader(file)
    assert (subset["train"], subset["test"]) == ("30.0", "30.0")


def test_kept_completions_are_columns(tmp_path):
    """Where they are too many, those of fewer steps."""
    write_run(tmp_path / "run", "soar_math", 0)
    with (tmp_path / "run" / "completions.jsonl").open("a") as file:
        file.write('{"outer_step": 5, "comp')  # a half-written last line
    runs = read_runs([tmp_path])
    assert runs[0].damage == ()
    made = bulk.completions(runs)
    columns, strings = made["columns"], made["strings"]
    assert len(columns["run"]) == 6 * 8
    assert sorted(set(columns["step"])) == [1, 2, 3, 4, 5, 6]
    assert [strings[columns[name][0]] for name in ("question", "answer", "verdict")] == [
        "dial 0 rotate",
        "7",
        "correct",
    ]
    assert HOSTILE in strings[columns["completion"][0]]
    assert (columns["answer"][1], columns["reward"][1], columns["advantage"][1]) == (None, 0.0, 0.123)
    assert bulk.packed_completions(runs)[1] == ""
    packed, note = bulk.packed_completions(runs, max_bytes=len(bulk.pack(bulk.completions(runs, stride=2))))
    assert packed == bulk.pack(bulk.completions(runs, stride=2))
    assert note.startswith("Only one in 2 outer steps")


def test_runs_without_kept_completions_have_no_section_of_them(study, tmp_path):
    write_run(tmp_path / "run", "curated", 0)
    for folder, count in ((study, 1), (tmp_path, 0)):
        report.write([folder], tmp_path / "report.html")
        assert (tmp_path / "report.html").read_text().count('id="completions"') == count
