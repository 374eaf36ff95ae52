"""Loads policies by name: a model, or the teacher or promoted student of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from soar_jax.checkpoints.base_model import LoadedModel, load_model, params_sha256
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError, require
from soar_jax.model import lora
from soar_jax.model.lora import FrozenBase
from soar_jax.runs.memory import abstract_weights
from soar_jax.runs.saved_run import check_base, read_keys, saved_config
from soar_jax.storage import files, run_checkpoints

# Policies of a run, and the paths of their weights in a checkpoint (a `state.RunArrays`).
ROLES = {"student": ("best",), "teacher": ("teacher", "weights")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy with adapters merged, and its description."""

    model: LoadedModel
    name: str
    workdir: epath.Path | None = None  # of its run; None if it belongs to none
    role: str = ""  # in its run, e.g. "teacher, after outer step 3"


def load(source: str, dtype: str) -> Policy:
    """Loads a policy onto the host.

    Args:
      source: a source of `load_model`, or a run's workdir, followed by ":student" (the default) or ":teacher".
      dtype: dtype of compute.

    Raises:
      SettingsError: there is no such policy, or it cannot be read.
    """
    path, role = _split_role(source)
    folder = files.to_path(path)
    files.check_bucket(folder)
    config = saved_config(folder)
    if config is not None:
        return _of_run(folder, config, role=role or "student", dtype=dtype)
    require(not role, f"--model={source}: {path} is no run's workdir, so it has no {role}")
    return Policy(model=load_model(source, dtype), name=source)


def config_of(source: str) -> RunConfig | None:
    """Reads the config of the run that a policy belongs to; None if it belongs to no run.

    Args:
      source: as in `load`.

    Raises:
      SettingsError: another version of this package has saved it, whose keys differ.
    """
    folder = files.to_path(_split_role(source)[0])
    files.check_bucket(folder)
    saved = saved_config(folder)
    return None if saved is None else read_keys(folder, saved, tuple(saved))


def _split_role(source: str) -> tuple[str, str]:
    """Splits a policy's name into a path and a role; the role is empty where none is named."""
    path, _, role = source.rpartition(":")
    return (path, role) if role in ROLES else (source, "")


def _of_run(workdir: epath.Path, config: dict[str, Any], role: str, dtype: str) -> Policy:
    """Loads a policy from the newest checkpoint of a run."""
    run = read_keys(workdir, config, ("lora", "model"))
    source, lora_config = run.model.source, run.trained_lora
    base = load_model(source, dtype, run.params_dtype)  # the dtype that the run used
    like = abstract_weights(base.config, lora_config)
    found = run_checkpoints.read_newest(workdir / "checkpoints", ROLES[role], like)
    if found is None:
        raise SettingsError(f"{workdir} has no checkpoint: the run has done no outer step")
    weights, record = found
    check_base(workdir, source, saved_sha256=record["base_sha256"], sha256=params_sha256(base.params))
    frozen_base = FrozenBase(base.params, jnp.float32(lora_config.scale)) if lora_config else None
    params = jax.tree.map(np.asarray, lora.merge(weights, frozen_base))
    described = _described(role, record["progress"])
    return Policy(
        model=dataclasses.replace(base, params=params),
        name=f"{workdir}: {described}",
        workdir=workdir,
        role=described,
    )


def _described(role: str, progress: dict[str, Any]) -> str:
    """Describes a run's policy by its record."""
    promotion, promoted = progress["best_promotion"], ""
    if role == "student":
        promoted = f"promotion {promotion}, " if promotion else "never promoted (the base model), "
    return f"{role}, {promoted}after outer step {progress['outer_step']}"
