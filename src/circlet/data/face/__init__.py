"""The paper's first task, face recognition: training records, and the sets that models are tested on.

Aligned faces (112 x 112) are expected where the source ships them aligned; no face is detected or aligned here.
"""

from circlet.data.face.face_bin import face_bin
from circlet.data.face.face_records import face_records
from circlet.data.face.ijbc import ijbc
from circlet.data.face.lfw import lfw
from circlet.data.face.megaface import megaface
from circlet.data.face.ytf import ytf

__all__ = ["face_bin", "face_records", "ijbc", "lfw", "megaface", "ytf"]
