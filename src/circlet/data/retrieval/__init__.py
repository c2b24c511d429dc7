"""The paper's third task, fine-grained retrieval: half of the classes to train on, the others to find each other."""

from circlet.data.retrieval.cars196 import cars196
from circlet.data.retrieval.cub200 import cub200
from circlet.data.retrieval.inshop import inshop
from circlet.data.retrieval.sop import sop

__all__ = ["cars196", "cub200", "inshop", "sop"]
