import json

from soar_jax.runs.run_files import RunFiles


def write(files, step, promoted=()):
    ledger = [{"outer_step": step, "dataset": k, "question": f"é\u2028{k}", "promoted": 0} for k in range(2)]
    metrics = {"outer_step": step, "reward": 0.5, "promoted": bool(promoted)}
    return files.write_step(metrics, ledger, timings={"outer_step": step, "step_s": 1.0}, promoted=promoted)


def marked(path):
    return [(row["outer_step"], row["dataset"]) for row in map(json.loads, path.open()) if row["promoted"]]


def test_rows_of_an_unsaved_step_are_dropped_on_resume(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({}, 0, ())
    saved = write(files, 0)
    before = {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in ("metrics", "ledger", "timings")}
    write(files, 1, {(0, 1)})
    files.close()
    assert marked(tmp_path / "ledger.jsonl") == [(0, 1)]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"half a row')
    files = RunFiles(tmp_path)
    files.open_at(saved, 1, ())
    files.close()
    for name in ("metrics", "ledger", "timings"):  # a mark of the step that was not saved is gone too
        assert (tmp_path / f"{name}.jsonl").read_bytes() == before[name]


def test_a_promotion_marks_its_dataset_and_moves_no_byte(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({}, 0, ())
    write(files, 0)
    sizes = write(files, 1, {(0, 1)})
    files.close()
    path = tmp_path / "ledger.jsonl"
    assert path.stat().st_size == sizes["ledger"]
    assert marked(path) == [(0, 1)]
