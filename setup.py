"""Entry for tools that start `setup.py`; all metadata is in pyproject.toml."""

from setuptools import setup

setup()
