"""Any policy by its name: a model, or the teacher or the promoted student of a run."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from soar_jax.storage import run_checkpoints
from soar_jax.model import lora
from soar_jax.model.config import ModelConfig
from soar_jax.checkpoints.base_model import LoadedModel, load_model, params_sha256
from soar_jax.model.lora import FrozenBase, LoRASettings
from soar_jax.model.parameters import Params, map_table, parameter_table
from soar_jax.storage import files
from soar_jax.rng import stream_key
from soar_jax.settings import SettingsError, require
from soar_jax.runs import build as setups

# Policies of a run, and where a checkpoint (a `state.RunArrays`) has their weights.
ROLES = {"student": ("best",), "teacher": ("teacher", "weights")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy as plain parameters, and what it is in words."""

    model: LoadedModel
    name: str


def load(source: str, dtype: str) -> Policy:
    """Loads a policy onto the host.

    Args:
      source: what `load_model` takes, or a run's workdir, with ":student" (the default) or ":teacher" behind it.
      dtype: what the decoder computes in.

    Raises:
      SettingsError: there is no such policy, or it cannot be read.
    """
    path, _, role = source.rpartition(":")
    if role not in ROLES:
        path, role = source, ""
    folder = files.to_path(path)
    files.check_bucket(folder)
    config = _run_config(folder)
    if config is not None:
        return _of_run(folder, config, role=role or "student", dtype=dtype)
    require(not role, f"--model={source}: {path} is no run's workdir, so it has no {role}")
    return Policy(model=load_model(source, dtype), name=source)


def _run_config(folder: epath.Path) -> dict[str, Any] | None:
    """The config of the run in a folder; None where there is no run."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "method" in found else None


def _of_run(workdir: epath.Path, config: dict[str, Any], role: str, dtype: str) -> Policy:
    try:
        kept = ml_collections.FrozenConfigDict({key: config[key] for key in ("lora", "model", "seed")})
        adapting, params_dtype = setups.lora_settings(kept.lora), setups.params_dtype(kept)
        source, seed = kept.model.source, kept.seed
    except (AttributeError, KeyError, TypeError):
        raise SettingsError(f"{workdir} holds a run of another version of soar_jax; run it again") from None
    base = load_model(source, dtype, params_dtype)  # as the run has loaded it
    weights, record = _newest(workdir, role, _weights_like(base.config, adapting, seed))
    require(
        record["base_sha256"] == params_sha256(base.params),
        f"model.source {source!r} holds other weights than when {workdir} was begun; bring them back",
    )
    frozen = FrozenBase(base.params, jnp.float32(adapting.scale)) if adapting else None
    params = jax.tree.map(np.asarray, lora.merge(weights, frozen))
    return Policy(model=dataclasses.replace(base, params=params), name=f"{workdir}: {_described(role, record['progress'])}")


def _described(role: str, progress: dict[str, Any]) -> str:
    """Which of a run's policies, in words."""
    promotion, promoted = progress["best_promotion"], ""
    if role == "student":
        promoted = f"promotion {promotion}, " if promotion else "never promoted (the base model), "
    return f"{role}, {promoted}after outer step {progress['outer_step']}"


def _weights_like(model: ModelConfig, adapting: LoRASettings | None, seed: int) -> Params:
    """A policy's weights as a run keeps them, as shapes alone."""
    if adapting:
        return jax.eval_shape(lambda key: lora.init_adapters(adapting, model, key), stream_key(seed, "lora"))
    return map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, np.float32), parameter_table(model))


def _newest(workdir: epath.Path, role: str, like: Params) -> tuple[Params, dict[str, Any]]:
    """One policy's weights from the newest checkpoint, as NumPy arrays, and the record beside them; writes nothing.

    Of the checkpoint only these weights are read, so neither optimisers nor a device have to hold anything.
    """
    folder = workdir / "checkpoints"
    for key in reversed(ROLES[role]):
        like = {key: like}
    try:
        steps = ocp.utils.checkpoint_steps(folder) if folder.exists() else []
        require(bool(steps), f"{workdir} has no checkpoint: the run has done no outer step")
    except OSError as error:
        raise SettingsError(f"cannot read {folder}: {files.reason(error)}") from None
    newest = files.absolute(folder) / str(max(steps))
    try:
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        args = ocp.args.PyTreeRestore(item=like, restore_args=restore_args, partial_restore=True)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            weights = reader.restore(newest / "arrays", args=args)
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            record = reader.restore(newest / "record")
        run_checkpoints.verify(weights, record)
    except Exception as error:  # orbax and tensorstore raise many kinds for a damaged checkpoint
        raise SettingsError(f"checkpoint {newest} is broken ({run_checkpoints.why_broken(error)})") from error
    for key in ROLES[role]:
        weights = weights[key]
    return weights, record
