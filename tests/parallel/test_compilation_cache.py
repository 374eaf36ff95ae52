import pathlib

import jax
import pytest

from soar_jax.parallel.compilation_cache import keep_compiled_programs


@pytest.fixture
def cache_settings():
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache_folder(monkeypatch, tmp_path, cache_settings):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_programs()
    folder = pathlib.Path(jax.config.jax_compilation_cache_dir)
    assert folder.parent == tmp_path / "soar_jax" / "compiled"


def test_a_folder_named_by_the_user_comes_first(monkeypatch, tmp_path, cache_settings):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before
