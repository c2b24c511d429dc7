"""References: what an anchor is compared with (the batch, class weights, any other rows), and argument checks."""

from circlet.references.resolve import resolve
from circlet.references.sources import ClassWeights, LabelledRows, References, Source

__all__ = ["ClassWeights", "LabelledRows", "References", "Source", "resolve"]
