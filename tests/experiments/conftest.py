import json

import pytest

from tests.experiments.runs import PROMOTE, finish, read, start


@pytest.fixture(scope="session")
def whole_run(command, tmp_path_factory):
    """An uninterrupted tiny run that promotes on every chance: its workdir and what it printed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    code, out, err = finish(start(command, workdir, *PROMOTE))
    assert code == 0, err
    moved = [row["teacher_grad_norm"] > 0 for row in map(json.loads, read(workdir, "metrics.jsonl").splitlines())]
    assert moved == [True, True, False]  # else what is lost of the teacher would not be seen
    return workdir, out
