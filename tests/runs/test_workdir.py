import ml_collections
import pytest

from configs.soar_math import get_config
from soar_jax.storage import files
from soar_jax.settings import SettingsError, with_dtype
from soar_jax.runs import workdir


@pytest.fixture
def config():
    return ml_collections.FrozenConfigDict(get_config())


@pytest.fixture
def other():
    changed = get_config()
    changed.seed = 7
    return ml_collections.FrozenConfigDict(changed)


def test_a_second_process_is_refused_until_the_first_has_ended(config, tmp_path):
    lock = workdir.claim(tmp_path, config)
    with pytest.raises(SettingsError, match="another process is running in"):
        workdir.claim(tmp_path, config)
    lock.close()
    workdir.claim(tmp_path, config).close()


def test_a_workdir_may_be_taken_over_only_before_its_run_has_begun(config, other, tmp_path):
    workdir.check(tmp_path, config)
    workdir.claim(tmp_path, config).close()
    workdir.check(tmp_path, other)
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    workdir.check(tmp_path, config)
    with pytest.raises(SettingsError, match=r"holds the run of another config \(different: seed\)"):
        workdir.check(tmp_path, other)


def test_a_run_may_go_on_computed_in_another_way(config, tmp_path):
    workdir.claim(tmp_path, config).close()
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    assert workdir.check(tmp_path, config) == []
    elsewhere = get_config()
    elsewhere.mesh.fsdp = 2
    elsewhere.student.rows_per_micro_batch = 4
    elsewhere.grading.num_workers = 7
    changed = workdir.check(tmp_path, ml_collections.FrozenConfigDict(elsewhere))
    assert changed == ["grading.num_workers", "mesh.fsdp", "student.rows_per_micro_batch"]


def test_a_dtype_that_is_not_settled_is_that_of_the_run(tmp_path):
    config = ml_collections.FrozenConfigDict(get_config("smollm2-135m"))
    on_cpu, on_gpu = (with_dtype(config, platform) for platform in ("cpu", "gpu"))
    workdir.claim(tmp_path, on_gpu).close()
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    assert workdir.check(tmp_path, config) == workdir.check(tmp_path, on_gpu) == []
    with pytest.raises(SettingsError, match=r"another config \(different: model.dtype\)"):
        workdir.check(tmp_path, on_cpu)


def test_a_config_of_another_kind_is_another_configs(tmp_path):
    config = ml_collections.FrozenConfigDict(get_config("smollm2-135m"))
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "config.json").write_text('{"model": 5}')
    with pytest.raises(SettingsError, match="holds the run of another config"):
        workdir.check(tmp_path, config)


def test_a_path_is_no_pattern(config, other, tmp_path):
    folder = files.to_path(str(tmp_path / "[seed]*"))
    workdir.claim(folder, config).close()
    (folder / "checkpoints" / "1").mkdir(parents=True)
    with pytest.raises(SettingsError, match="holds the run of another config"):
        workdir.check(folder, other)


def test_a_broken_config_is_named(config, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingsError, match=r"config.json is broken"):
        workdir.check(tmp_path, config)
