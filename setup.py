"""Installs the data files of `pyproject.toml` also in editable installations."""

from setuptools import Distribution, setup

# An editable installation asks for `has_data`, which does not exist, and leaves out the data files.
Distribution.has_data = Distribution.has_data_files
setup()
