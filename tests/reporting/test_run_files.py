import json
from types import SimpleNamespace

from soar_jax.reporting.run_files import RunFiles


def write(files, step, promoted=None):
    ledger = [{"outer_step": step, "dataset": k, "question": f"é\u2028{k}", "promoted": 0} for k in range(2)]
    return files.write_step({"outer_step": step, "reward": 0.5}, ledger, {"outer_step": step, "step_s": 1.0}, promoted)


def test_rows_of_an_unsaved_step_are_dropped_on_resume(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({}, 0)
    saved = write(files, 0)
    before = {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in ("metrics", "ledger", "timings")}
    write(files, 1, SimpleNamespace(source_step=0, dataset=1))
    files.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"half a row')
    files = RunFiles(tmp_path)
    files.open_at(saved, 1)
    files.close()
    for name in ("metrics", "timings"):
        assert (tmp_path / f"{name}.jsonl").read_bytes() == before[name]
    ledger = [json.loads(line) for line in (tmp_path / "ledger.jsonl").open(encoding="utf-8")]
    assert [row["outer_step"] for row in ledger] == [0, 0]


def test_a_promotion_marks_its_dataset_and_moves_no_byte(tmp_path):
    files = RunFiles(tmp_path)
    files.open_at({}, 0)
    write(files, 0)
    sizes = write(files, 1, SimpleNamespace(source_step=0, dataset=1))
    files.close()
    path = tmp_path / "ledger.jsonl"
    assert path.stat().st_size == sizes["ledger"]
    marked = [(row["outer_step"], row["dataset"]) for row in map(json.loads, path.open()) if row["promoted"]]
    assert marked == [(0, 1)]
