import pytest

from soar_jax.errors import SettingsError
from soar_jax.runs import out_folder

SETTINGS = {"program": "evaluate", "model": "a", "ks": (1, 2)}


def test_a_folder_is_taken_again_by_the_same_settings_alone(tmp_path):
    out = tmp_path / "new" / "out"
    out_folder.check_out_folder(out)
    assert not out.exists()
    out_folder.claim_out_folder(out, SETTINGS).close()
    (out / "result").write_text("kept")
    out_folder.claim_out_folder(out, SETTINGS).close()
    with pytest.raises(SettingsError, match=r"results of other settings \(different: ks, model, seed\)"):
        out_folder.claim_out_folder(out, {"program": "evaluate", "model": "b", "seed": 1})
    assert (out / "result").read_text() == "kept"


def test_one_process_at_a_time(tmp_path):
    lock = out_folder.claim_out_folder(tmp_path / "out", SETTINGS)
    with pytest.raises(SettingsError, match="another process is running in"):
        out_folder.claim_out_folder(tmp_path / "out", SETTINGS)
    lock.close()
    out_folder.claim_out_folder(tmp_path / "out", SETTINGS).close()


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(SettingsError, match="holds other files"):
        out_folder.check_out_folder(tmp_path)
    with pytest.raises(SettingsError, match="holds other files"):
        out_folder.claim_out_folder(tmp_path, SETTINGS)
    with pytest.raises(SettingsError, match="cannot read --out="):
        out_folder.check_out_folder(tmp_path / "notes")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_broken_settings_are_named(tmp_path):
    for content in ("{", "[]"):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(SettingsError, match=r"settings.json is broken|results of other settings"):
            out_folder.claim_out_folder(tmp_path, SETTINGS)
