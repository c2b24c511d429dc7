"""Whether two images are one picture: cropped, saved again, resized, mirrored or brightened, and nothing else.

An embedding finds what may be a copy; this tells a copy from another photograph of the same thing. Both images are
compared as small grey pictures. One is laid over the other in every place, at six sizes, as it is and mirrored; where
that is promising, it is shifted and stretched until the two agree best. The score is their correlation there, without
what is blurred (the light, large shadows), so that only details in the same places count: .97 to 1 for a copy, .8 to
.95 for two shots of one scene within seconds, below .5 for most pairs of photographs of one thing.

What is cropped to less than three quarters of a side, turned, or drawn over is not found.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 64  # pixels of the small pictures
SAME = 0.9  # correlation of one picture; from 0.8 on there are also shots of one scene seconds apart
_WINDOW, _SIZES = 16, (16, 17, 18, 19, 20, 21)  # a crop of 16/21 of a side is found
_PROMISING = 0.6  # correlation of the windows from which on a place is looked at more closely
_FINE, _BLUR = 32, 7
_STEPS = (0.03, 0.012, 0.005)
_MOVES = ((1, 0, 0, 0), (0, 1, 0, 0), (-0.5, 0, 1, 0), (0, -0.5, 0, 1), (-0.5, -0.5, 1, 1))
_STARTS, _WORTH = 2, 0.45  # places that are begun from; agreement after the first steps without which it is left
_BATCH = 256


class _Start(NamedTuple):
    """Places to begin from, (M,) each: the pair, which picture is the whole and which the crop, whether mirrored.

    box: (M, 4) left, top, width, height of the crop in shares of the whole. score: of the small windows.
    """

    pair: Tensor
    whole: Tensor
    crop: Tensor
    mirrored: Tensor
    box: Tensor
    score: Tensor

    def at(self, rows: Tensor) -> "_Start":
        return _Start(*(part[rows] for part in self))


@torch.no_grad()
def same_picture(small: Tensor, pairs: Tensor) -> Tensor:
    """The score (P,) of each pair, -1 to 1; `SAME` or more: one picture.

    >>> picture = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)).kron(torch.ones(1, 8, 8)) * 255
    >>> small = torch.cat([picture, picture.flip(2) * 0.7, picture.flip(1)]).byte()
    >>> (same_picture(small, torch.tensor([[0, 1], [0, 2]])) >= SAME).tolist()
    [True, False]

    small: (n, 64, 64) uint8, grey, stretched to squares. pairs: (P, 2) indices into them. Pairs that are not promising,
    and pictures without any details, have 0.
    """
    if small.ndim != 3 or small.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"small: found shape {tuple(small.shape)}, expected (n, {SIDE}, {SIDE})")
    score = torch.zeros(len(pairs))
    starts = _starts(small, pairs)
    for first in range(0, len(starts.pair), _BATCH):
        part = starts.at(torch.arange(first, min(first + _BATCH, len(starts.pair))))
        found = _fitted(small, part)
        score.scatter_reduce_(0, part.pair, found, "amax")
    return score


def _starts(small: Tensor, pairs: Tensor) -> _Start:
    """The best places of each pair that is promising: either may be the crop, as it is or mirrored, of any size."""
    number = torch.arange(len(pairs)).repeat(2)
    whole, crop = torch.cat([pairs, pairs.flip(1)]).T
    order = whole.argsort(stable=True)
    number, whole, crop = number[order], whole[order], crop[order]
    found: list[_Start] = []
    for begin in range(0, len(whole), _BATCH):
        part = slice(begin, begin + _BATCH)
        found.append(_best_windows(small, number[part], whole[part], crop[part]))
    every = _Start(*(torch.cat(parts) for parts in zip(*found, strict=True))) if found else _no_start()
    every = every.at((every.score >= _PROMISING).nonzero()[:, 0])
    by_score = every.at(every.score.argsort(descending=True, stable=True))
    ranked = by_score.at(by_score.pair.argsort(stable=True))  # pair by pair, the best first
    first_of = torch.searchsorted(ranked.pair, ranked.pair)
    return ranked.at((torch.arange(len(first_of)) - first_of < _STARTS).nonzero()[:, 0])


def _best_windows(small: Tensor, number: Tensor, whole: Tensor, crop: Tensor) -> _Start:
    """Of each size, the window of the whole that is most like the crop, and whether mirrored; whole: in order."""
    wholes, local = whole.unique_consecutive(return_inverse=True)
    patterns = _resized(small[crop].float(), _WINDOW)
    both = torch.stack([_unit(patterns.flatten(1)), _unit(patterns.flip(2).flatten(1))], dim=2)  # (M, pixels, 2)
    pictures = small[wholes].float()
    parts = []
    for size in _SIZES:
        windows = _unit(F.unfold(_resized(pictures, size)[:, None], _WINDOW).transpose(1, 2))  # (W, places, pixels)
        score, place = torch.bmm(windows[local], both).flatten(1).max(1)
        mirrored, place = place % 2 == 1, place // 2
        across = size - _WINDOW + 1
        corner = torch.stack([place % across, place // across], dim=1) / size
        box = torch.cat([corner, torch.full_like(corner, _WINDOW / size)], dim=1)
        parts.append(_Start(number, whole, crop, mirrored, box, score))
    return _Start(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _no_start() -> _Start:
    none = torch.zeros(0, dtype=torch.int64)
    return _Start(none, none, none, none.bool(), torch.zeros(0, 4), torch.zeros(0))


def _fitted(small: Tensor, start: _Start) -> Tensor:
    """(M,) the correlation of the details once each box has been moved to where it is largest."""
    whole, crop = small[start.whole].float(), small[start.crop].float()
    crop = torch.where(start.mirrored[:, None, None], crop.flip(2), crop)
    pattern = _details(_seen(crop, torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(crop), 4)))
    boxes = start.box
    best = (_details(_seen(whole, boxes)) * pattern).sum(1)
    found, worth = best.clone(), torch.arange(len(best))
    moves = torch.tensor(_MOVES)
    for number, step in enumerate(_STEPS):
        for move in (torch.cat([moves, -moves]) * step).repeat(2, 1):
            moved = boxes + move
            inside = (moved[:, :2] >= -0.02).all(1) & (moved[:, :2] + moved[:, 2:] <= 1.02).all(1)
            agreement = torch.where(inside, (_details(_seen(whole, moved)) * pattern).sum(1), -1.0)
            boxes = torch.where((agreement > best)[:, None], moved, boxes)
            best = torch.maximum(agreement, best)
        found[worth] = best
        if number == 0:
            going = (best >= _WORTH).nonzero()[:, 0]
            whole, pattern, boxes, best, worth = (x[going] for x in (whole, pattern, boxes, best, worth))
    return found


def _seen(pictures: Tensor, boxes: Tensor) -> Tensor:
    """The boxes cut out: (M, 32, 32)."""
    steps = (torch.arange(_FINE) + 0.5) / _FINE
    x = 2 * (boxes[:, 0, None] + steps * boxes[:, 2, None]) - 1
    y = 2 * (boxes[:, 1, None] + steps * boxes[:, 3, None]) - 1
    grid = torch.stack([x[:, None].expand(-1, _FINE, -1), y[:, :, None].expand(-1, -1, _FINE)], dim=3)
    return F.grid_sample(pictures[:, None], grid, align_corners=False, padding_mode="border")[:, 0]


def _details(pictures: Tensor) -> Tensor:
    """Unit rows (M, pixels) without what is blurred."""
    around = F.avg_pool2d(pictures[:, None], _BLUR, stride=1, padding=_BLUR // 2, count_include_pad=False)[:, 0]
    return _unit((pictures - around).flatten(1))


def _resized(pictures: Tensor, size: int) -> Tensor:
    return F.interpolate(pictures[:, None], (size, size), mode="bilinear", antialias=True, align_corners=False)[:, 0]


def _unit(rows: Tensor) -> Tensor:
    """Rows less their mean, in unit length; 0 for what has no contrast (half a grey level on average)."""
    rows = rows - rows.mean(-1, keepdim=True)
    length = rows.norm(dim=-1, keepdim=True)
    return torch.where(length > 0.5 * rows.shape[-1] ** 0.5, rows / length.clamp(min=1e-6), torch.zeros_like(rows))
