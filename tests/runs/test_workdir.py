import pytest

from soar_jax.errors import SettingsError
from soar_jax.runs.workdir import check_workdir, claim_workdir
from soar_jax.storage import files
from tests.configs import make_config


@pytest.fixture
def config():
    return make_config()


@pytest.fixture
def other():
    return make_config(seed=7)


def test_a_second_process_is_refused_until_the_first_has_ended(config, tmp_path):
    lock = claim_workdir(tmp_path, config)
    with pytest.raises(SettingsError, match="another process is running in"):
        claim_workdir(tmp_path, config)
    lock.close()
    claim_workdir(tmp_path, config).close()


def test_another_config_may_use_a_workdir_before_its_run(config, other, tmp_path):
    check_workdir(tmp_path, config)
    claim_workdir(tmp_path, config).close()
    check_workdir(tmp_path, other)
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    check_workdir(tmp_path, config)
    with pytest.raises(SettingsError, match=r"holds the run of another config \(different: seed\)"):
        check_workdir(tmp_path, other)


def test_a_run_may_resume_with_other_execution_keys(config, tmp_path):
    claim_workdir(tmp_path, config).close()
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    assert check_workdir(tmp_path, config) == []
    elsewhere = make_config(**{"mesh.fsdp": 2, "student.rows_per_micro_batch": 4, "grading.num_workers": 7})
    changed = check_workdir(tmp_path, elsewhere)
    assert changed == ["grading.num_workers", "mesh.fsdp", "student.rows_per_micro_batch"]


def test_an_automatic_dtype_is_that_of_the_run(tmp_path):
    config = make_config(scale="smollm2-135m")
    on_cpu, on_gpu = (config.for_platform(platform) for platform in ("cpu", "gpu"))
    claim_workdir(tmp_path, on_gpu).close()
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    assert check_workdir(tmp_path, config) == check_workdir(tmp_path, on_gpu) == []
    with pytest.raises(SettingsError, match=r"another config \(different: model.dtype\)"):
        check_workdir(tmp_path, on_cpu)


def test_a_config_that_cannot_be_read_is_another_configs(tmp_path):
    config = make_config(scale="smollm2-135m")
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "config.json").write_text('{"model": 5}')
    with pytest.raises(SettingsError, match="holds the run of another config"):
        check_workdir(tmp_path, config)


def test_a_path_is_no_pattern(config, other, tmp_path):
    folder = files.to_path(str(tmp_path / "[seed]*"))
    claim_workdir(folder, config).close()
    (folder / "checkpoints" / "1").mkdir(parents=True)
    with pytest.raises(SettingsError, match="holds the run of another config"):
        check_workdir(folder, other)


def test_a_broken_config_is_named(config, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingsError, match=r"config.json is broken"):
        check_workdir(tmp_path, config)
