"""Checkpoints of which a disk, a copy or a hand has changed something: none is gone on from without a word."""

import shutil
import zipfile

import pytest
import torch

from circlet.training import load
from tests.training.tiny import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bit_rot") / "run"
    run(path, steps=2, checkpoint_every=1, validate_every=1, validate=lambda model: {"map@r": 0.5})
    return path


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "run")


def flip(path, place, bit=1):
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


def of_a_weight(path):
    """Where a weight lies in the file."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    return largest.header_offset + 512


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(copied):
    path = copied / "last.pt"
    whole, content, errors = load(path), path.read_bytes(), []
    for i in range(150):
        place = i * len(content) // 150
        flip(path, place, 1 << i % 8)
        try:
            assert same(load(path), whole), place
        except ValueError as error:
            errors.append(str(error))
        path.write_bytes(content)
    assert len(errors) > 60  # the rest is padding
    assert all(text.startswith(f"{path}: found no readable checkpoint") for text in errors)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_flipped_bit_of_a_weight_is_named_with_what_to_do(copied, mapped):
    for name in ("last.pt", "best.pt"):
        flip(copied / name, of_a_weight(copied / name))
    with pytest.raises(ValueError, match=r"last.pt: found no readable checkpoint, it is damaged \(Bad CRC-32 for file "
                                         r".*\); put a copy of it back, or copy best.pt over it"):  # fmt: skip
        load(copied / "last.pt", mapped=mapped)
    with pytest.raises(ValueError, match=r"best.pt: .* damaged .* or use the last one \(circlet evaluate --checkpoint"):
        load(copied / "best.pt", mapped=mapped)
    (copied / "best.pt").unlink()
    with pytest.raises(ValueError, match=r"last.pt: .* damaged .*, or remove it, to train from the start"):
        load(copied / "last.pt", mapped=mapped)


def test_a_run_does_not_go_on_from_a_damaged_checkpoint_but_from_the_one_that_is_named(copied):
    flip(copied / "last.pt", of_a_weight(copied / "last.pt"))
    with pytest.raises(ValueError, match="damaged"):
        run(copied, steps=2)
    shutil.copy(copied / "best.pt", copied / "last.pt")
    _, _, folder = run(copied, steps=2)
    assert load(folder.last)["step"] == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_checkpoint_that_was_cut_off_is_refused(copied, share):
    path = copied / "last.pt"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"last.pt: found no readable checkpoint"):
        load(path)


def test_a_checkpoint_that_would_unpack_into_more_than_its_size_is_refused(copied, tmp_path):
    path = tmp_path / "packed.pt"
    with zipfile.ZipFile(copied / "last.pt") as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in archive.infolist():
            packed.writestr(member.filename, archive.read(member))
    with pytest.raises(
        ValueError, match=r"packed.pt: found no readable checkpoint, it is damaged \('.*' is compressed"
    ):
        load(path)


def test_pipes_and_folders_are_no_checkpoints(tmp_path):
    with pytest.raises(ValueError, match="found no regular file"):
        load(tmp_path)
