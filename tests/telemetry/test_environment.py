import subprocess

from soar_jax.telemetry.environment import environment, git_commit


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_of_a_checkout_says_whether_files_differ(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "code").write_text("1")
    git(tmp_path, "add", "code")
    git(tmp_path, "commit", "--message=first")
    git(tmp_path, "tag", "v1", "--annotate", "--message=tag")
    (tmp_path / "untracked").write_text("1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    git_commit.cache_clear()
    assert git_commit(tmp_path) == commit
    (tmp_path / "code").write_text("2")
    git_commit.cache_clear()
    assert git_commit(tmp_path) == f"{commit}-dirty"
    (tmp_path / "venv").mkdir()
    assert git_commit(tmp_path / "venv") == ""  # a package that is installed in it


def test_a_broken_checkout_has_no_commit(tmp_path):
    (tmp_path / ".git").mkdir()
    assert git_commit(tmp_path) == ""


def test_no_variable_of_the_shell_is_told(mesh, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "hunter2hunter2")
    found = environment(mesh)
    assert found["num_devices"] == mesh.size
    assert "hunter2" not in str(found)
