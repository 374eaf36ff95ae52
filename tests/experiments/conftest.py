import pytest

from tests.experiments.runs import PROMOTE, finish, start


@pytest.fixture(scope="session")
def whole_run(command, tmp_path_factory):
    """An uninterrupted tiny run that promotes on every chance: its workdir and what it printed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    code, out, err = finish(start(command, workdir, *PROMOTE))
    assert code == 0, err
    return workdir, out
