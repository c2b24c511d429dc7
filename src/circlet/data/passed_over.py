"""Files of a folder that are no images to us, and those that are by content alone: counted by kind, and told of."""

from collections import Counter
from collections.abc import Iterable

from circlet.data.notes import say_once, some

_SHOWN = 8  # kinds
_ADVICE = {
    "HEIC": "HEIC is not read: convert it to JPEG",
    "AVIF": "AVIF is read by Pillow from 11.3 on, and is not here",
}
_FORMAT_OF = {".heic": "HEIC", ".heif": "HEIC", "HEIC": "HEIC", ".avif": "AVIF", "AVIF": "AVIF"}


class PassedOver:
    """How many files of each kind were passed over, and which folders have no image beside them.

    >>> passed = PassedOver()
    >>> passed.add("photos/ant", [".txt", ".heic", ".heic"], has_image=True)
    >>> passed.sentence("photos")
    'photos: 3 files passed over: .heic (2), .txt (1); HEIC is not read: convert it to JPEG'
    """

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._bare: list[str] = []
        self._taken: Counter[str] = Counter()

    def add(self, folder: str, kinds: Iterable[str], *, has_image: bool) -> None:
        """Count the files of a folder, given the kind of each."""
        kinds = list(kinds)
        self._kinds.update(kinds)
        if kinds and not has_image:
            self._bare.append(folder)

    def add_taken(self, kinds: Iterable[str]) -> None:
        """Count files that are taken for images by their content, given the kind of each by its name."""
        self._taken.update(kinds)

    def tell(self, root: str) -> None:
        """Say on standard error what was passed over and what was taken, if there is anything to say."""
        if self._taken:
            count = self._taken.total()
            files = "files taken for images" if count > 1 else "file taken for an image"
            say_once(f"{root}: {count} {files} by the content alone: {by_kind(self._taken)}")
        if sentence := self.sentence(root):
            say_once(f"warning: {sentence}")

    def sentence(self, root: str) -> str:
        """What was passed over below `root`; empty if nothing was."""
        if not self._kinds:
            return ""
        count = self._kinds.total()
        text = f"{root}: {count} file{'s' if count > 1 else ''} passed over: {by_kind(self._kinds)}"
        if self._bare:
            text += f"; no image beside them in {some(self._bare)}"
        formats = sorted({_FORMAT_OF[kind] for kind in self._kinds if kind in _FORMAT_OF})
        return "; ".join([text, *(_ADVICE[name] for name in formats)])


def by_kind(kinds: Counter[str]) -> str:
    """How many there are of each kind, the most first.

    >>> by_kind(Counter([".txt", ".heic", ".heic"]))
    '.heic (2), .txt (1)'
    """
    counts = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{kind} ({count})" for kind, count in counts[:_SHOWN])
    rest = sum(count for _, count in counts[_SHOWN:])
    return shown + (f", others ({rest})" if rest else "")
