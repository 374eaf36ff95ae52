"""From the ConfigDict of a config file and its overrides to the typed config, once, at a program's start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
from absl import flags

from soar_jax.config import cross_rules, prompt_texts
from soar_jax.config.fields import read_section
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError


def read_config(values: ml_collections.ConfigDict | ml_collections.FrozenConfigDict | Mapping[str, Any]) -> RunConfig:
    """The typed config, each key checked by itself and with the others.

    Raises:
      SettingsError: with the key, its value and what is allowed.
    """
    plain = values if isinstance(values, Mapping) else values.to_dict()
    config = read_section(RunConfig, _with_prompt_texts(plain))
    cross_rules.check(config)
    return config


def _with_prompt_texts(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Puts a prompt's text in the place of its name, so that a saved config says what was asked."""
    prompts = values.get("prompts")
    if not isinstance(prompts, Mapping):
        return values
    known = {"student": prompt_texts.STUDENT, "teacher": prompt_texts.TEACHER}
    texts = {key: found[str(prompts[key])] for key, found in known.items() if str(prompts.get(key)) in found}
    return {**values, "prompts": {**prompts, **texts}}


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Makes what goes wrong in reading flags and config files a `SettingsError` of one line."""
    try:
        yield
    except (KeyError, AttributeError) as error:
        raise SettingsError(f"no such config key: {_first_line(error)}") from None
    except (flags.Error, TypeError, ValueError, OSError, ImportError, SyntaxError) as error:
        raise SettingsError(_first_line(error)) from None


def _first_line(error: BaseException) -> str:
    while error.args and isinstance(error.args[0], BaseException):  # its own text would quote the other's
        error = error.args[0]
    text = str(error.args[0]) if error.args else type(error).__name__
    # A config file's own error comes wrapped in its traceback.
    text = text.rpartition(f"{SettingsError.__name__}: ")[2]
    text = text.partition("The above exception was")[0]
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1]
    return " ".join(text.split())
