import json

from soar_jax.runs.run_files import RunFiles

NAMES = ("metrics", "ledger", "timings")


def write(files, step):
    ledger = [{"outer_step": step, "dataset": k, "question": f"é\u2028{k}"} for k in range(2)]
    metrics = {"outer_step": step, "reward": 0.5, "promoted": step == 1}
    return files.write_step(metrics, ledger, timings={"outer_step": step, "step_s": 1.0})


def test_a_step_appends_a_row_to_each_file(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({}, 0)
    for step in range(2):
        sizes = write(files, step)
    files.close()
    assert sizes == {name: (tmp_path / f"{name}.jsonl").stat().st_size for name in NAMES}
    rows = {name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").open()] for name in NAMES}
    assert [row["outer_step"] for row in rows["metrics"]] == [row["outer_step"] for row in rows["timings"]] == [0, 1]
    assert [(row["outer_step"], row["question"]) for row in rows["ledger"]] == [
        (step, f"é\u2028{k}") for step in range(2) for k in range(2)
    ]


def test_rows_of_an_unsaved_step_are_dropped_on_resume(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({}, 0)
    saved = write(files, 0)
    before = {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in NAMES}
    write(files, 1)
    files.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"half a row')
    files = RunFiles(tmp_path)
    files.open_at(saved, 1)
    files.close()
    for name in NAMES:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == before[name]
