"""Doctests are collected from all modules; those of the Triton kernels need Triton, which only Linux has."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["src/circlet/similarity/gpu/*"]
