"""Persistent compilation cache on disk, so that a later start does not compile again."""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform

import jax

MIN_COMPILE_S = 0.2  # programs that compile faster are not worth a file


def keep_compiled_programs() -> None:
    """Turns JAX's persistent compilation cache on, in the user's cache folder.

    JAX's own environment variables take precedence: JAX_COMPILATION_CACHE_DIR names another folder,
    JAX_ENABLE_COMPILATION_CACHE=0 turns the cache off.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_S)


def _folder() -> pathlib.Path:
    """One folder per CPU type: compiled programs use instructions that another CPU may lack."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return cache / "soar_jax" / "compiled" / hashlib.sha256(_processor().encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {features}"
