"""Prints the documentation's page of all config keys: `python -m soar_jax.config > docs/configuration.md`."""

import sys

from soar_jax.config.reference import markdown

sys.stdout.write(markdown())
