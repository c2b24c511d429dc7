"""References: what an anchor is compared with, and the checks of a loss's arguments.

| file        | what it is                                                                          |
|-------------|-------------------------------------------------------------------------------------|
| sources     | what a source is; class weights                                                     |
| memory      | source: the embeddings of the last batches                                          |
| ranks       | source: the batches of all ranks; how a loss over several ranks is put together     |
| sharded     | source: class weights spread over ranks; sampling of negative classes               |
| resolve     | from a loss's arguments to the pairs of each source                                 |
| checks      | rows, labels and sizes at the public edge                                           |
"""

from circlet.references.memory import MemoryBank
from circlet.references.ranks import AllRanks, GlobalBatch, SpreadSource
from circlet.references.resolve import resolve
from circlet.references.sharded import ShardedClassWeights
from circlet.references.sources import ClassWeights, LabelledRows, References, Source

__all__ = [
    "AllRanks",
    "ClassWeights",
    "GlobalBatch",
    "LabelledRows",
    "MemoryBank",
    "References",
    "ShardedClassWeights",
    "Source",
    "SpreadSource",
    "resolve",
]
