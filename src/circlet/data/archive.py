"""Reading images straight from a zip archive, in this process and in loader workers.

Nothing is ever unpacked to disk. This file does not decide which members are images.
"""

import os
import zipfile
from typing import TYPE_CHECKING, Any

from circlet.data.open_image import open_image

if TYPE_CHECKING:
    from PIL.Image import Image


class ZipReader:
    """Reader of zip members: image i is `members[i]` of the archive.

    The archive is opened once a process: a forked worker must not share its parent's file offset, and a pickled reader
    (spawned worker) leaves the open file behind.
    """

    def __init__(self, archive: str, members: tuple[str, ...]) -> None:
        self.archive = archive
        self.members = members
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __call__(self, index: int) -> "Image":
        """Return image `index`, not decoded yet."""
        return open_image(self.content(index))

    def place(self, index: int) -> str:
        """The archive and the member."""
        return f"{self.archive}, {self.members[index]}"

    def content(self, index: int) -> bytes:
        """The bytes of member `index`."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(self.archive))
        return self._opened[1].read(self.members[index])
