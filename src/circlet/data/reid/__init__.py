"""The paper's second task, re-identification: queries search a gallery of other cameras.

Class names are the ids as they are written on disk, and `ImageSet.ids` makes numbers of them. In Market-1501 -1 is
junk, which no protocol ranks, and 0 a distractor; the 408 distractors of DukeMTMC-reID are persons with ids of their
own.
"""

from circlet.data.reid.market import dukemtmc, market1501
from circlet.data.reid.msmt17 import msmt17
from circlet.data.reid.vehicleid import vehicleid

__all__ = ["dukemtmc", "market1501", "msmt17", "vehicleid"]
