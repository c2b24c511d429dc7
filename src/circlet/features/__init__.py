"""Features computed once: rows of numbers by keys, kept on disk for whoever asks for them again.

| file    | what it is                                                                              |
|---------|-----------------------------------------------------------------------------------------|
| store   | the store of one network: what is there is read, the rest is computed and kept          |
| shelf   | the files of one network: where each key lies, what is damaged, what can be merged      |
| parts   | one file: keys, checksums and rows; written once, memory-mapped, never trusted          |
| room    | all networks together: the limit, what goes first, how much there is, and emptying it   |
| digests | the name of a network: its weights and structure, preprocessing and view as hexadecimal |

It knows nothing of images or networks: the caller says which network, which keys, and how a row is computed.
"""

from circlet.features.digests import digest, digest_of_module
from circlet.features.room import clear, default_folder, default_limit, usage
from circlet.features.shelf import Found
from circlet.features.store import FeatureStore

__all__ = [
    "FeatureStore",
    "Found",
    "clear",
    "default_folder",
    "default_limit",
    "digest",
    "digest_of_module",
    "usage",
]
