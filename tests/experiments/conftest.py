import fcntl
import json
import os

import pytest

from tests.experiments.runs import PROMOTE, finish, read, start


@pytest.fixture(scope="session")
def whole_run(command, tmp_path_factory):
    """An uninterrupted tiny run that promotes on every chance, in a process of its own: workdir, what it printed.

    It is made once for all pytest workers, and what it compiles is in the cache then.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "whole"
    folder.mkdir(exist_ok=True)
    workdir, printed = folder / "run", folder / "out.txt"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            code, out, err = finish(start(command, workdir, *PROMOTE))
            assert code == 0, err
            printed.write_text(out)
    moved = [row["teacher_grad_norm"] > 0 for row in map(json.loads, read(workdir, "metrics.jsonl").splitlines())]
    assert moved == [True, True, False]  # else what is lost of the teacher would not be seen
    return workdir, printed.read_text()
