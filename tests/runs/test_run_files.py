import json
from types import SimpleNamespace

from soar_jax.runs.run_files import RunFiles

NAMES = ("metrics", "ledger", "completions", "timings")


def write(files, step):
    ledger = [{"outer_step": step, "dataset": k, "question": f"é\u2028{k}"} for k in range(2)]
    metrics = {"outer_step": step, "reward": 0.5, "promoted": step == 1}
    completions = [{"outer_step": step, "completion": f"\x00{k}"} for k in range(3)]
    result = SimpleNamespace(metrics=metrics, ledger=ledger, completions=completions)
    return files.write_step(result, timings={"outer_step": step, "step_s": 1.0})


def test_a_step_appends_a_row_to_each_file(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({})
    for step in range(2):
        sizes = write(files, step)
    assert sizes == {name: (tmp_path / f"{name}.jsonl").stat().st_size for name in NAMES}
    rows = {name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").open()] for name in NAMES}
    assert [row["outer_step"] for row in rows["metrics"]] == [row["outer_step"] for row in rows["timings"]] == [0, 1]
    assert [(row["outer_step"], row["question"]) for row in rows["ledger"]] == [
        (step, f"é\u2028{k}") for step in range(2) for k in range(2)
    ]
    assert [(row["outer_step"], row["completion"]) for row in rows["completions"]] == [
        (step, f"\x00{k}") for step in range(2) for k in range(3)
    ]


def test_a_run_that_shows_no_answers_has_no_file_of_them(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({})
    sizes = files.write_step(SimpleNamespace(metrics={"outer_step": 0}, ledger=[{}], completions=[]), timings={})
    assert sizes["completions"] == 0
    assert not (tmp_path / "completions.jsonl").exists()
    RunFiles(tmp_path).open_at(sizes)


def test_rows_of_an_unsaved_step_are_dropped_on_resume(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({})
    saved = write(files, 0)
    before = {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in NAMES}
    write(files, 1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"half a row')
    files = RunFiles(tmp_path)
    files.open_at(saved)
    for name in NAMES:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == before[name]
