"""What a machine runs out of, or does not have: one line that says what to change, and no wait."""

import errno
import os
import resource
import sys
import types

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from circlet import cli, resources
from circlet.data import DataError, ImageSet
from circlet.data.decoded import DecodedImages
from circlet.data.worker_batches import WorkerBatches
from circlet.models import depth
from circlet.models.timm_sources import import_timm
from circlet.resources import OutOfResources, explained, loaded

BROKEN = 5


class Images:
    """Pictures by number; one of them is broken."""

    def __call__(self, index):
        if index == BROKEN:
            raise ValueError("no picture")
        from PIL import Image

        return Image.new("RGB", (8, 8), (index, 0, 0))

    def file(self, index):
        return None


def failing(error):
    class Loader:
        num_workers = 2

        def __iter__(self):
            raise error

    return Loader()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),  # of a semaphore
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
                     "last):\nRuntimeError: unable to allocate shared memory(shm) for file </torch_17154_42_0>: No "
                     "space left on device (28)"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
                     "workers are out of shared memory. Please try to raise your shared memory limit."),
    ],
    ids=["semaphore", "batch", "bus error"],
)  # fmt: skip
def test_full_shared_memory_names_the_flags_that_help(error):
    with pytest.raises(OutOfResources, match=r"^shared memory: found .*--data\.workers 0.*--shm-size 2g\)[^\n]*$"):
        list(loaded(failing(error)))


@pytest.mark.parametrize(("free", "told"), [(12.0, r"; shared memory: found 12 of 64 MiB .*--shm-size"), (300.0, "$")])
def test_a_worker_that_has_ended_is_told_as_that(free, told, monkeypatch):
    monkeypatch.setattr(resources, "_shared_mib", lambda: (free, 64.0))
    found = r"^loader workers: found one that has ended \(DataLoader worker \(pid\(s\) 17237\) exited unexpectedly\)" \
        r", expected --data\.workers 0, which shows its error"  # fmt: skip
    with pytest.raises(OutOfResources, match=found + told):
        list(loaded(failing(RuntimeError("DataLoader worker (pid(s) 17237) exited unexpectedly\nmore"))))


@pytest.mark.parametrize("name", ["shared memory", "out of memory", "Too many open files"])
def test_the_name_of_a_file_is_no_lack(name):
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", f"/mnt/{name}/photo.jpg")
    assert explained(missing) is None
    assert explained(FileNotFoundError(f"Caught FileNotFoundError in DataLoader worker process 0.\n{missing}")) is None


@pytest.mark.subprocess
def test_too_few_open_files_for_workers_are_an_error_and_no_wait(monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resources.resource, "getrlimit", lambda which: (24, 24))
    with pytest.raises(OutOfResources, match=r"open files: found a limit of 24; 2 workers need \d\d, .*ulimit -n 4096"):
        list(loaded(DataLoader(range(4), num_workers=2)))
    monkeypatch.undo()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the open files are not listed")
def test_a_soft_limit_on_open_files_is_raised_where_that_is_allowed():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    now = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (now + 30, hard))
    try:
        resources._make_room(2)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= now + 36
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError(), r"memory: found none left.*, expected less .*--batch\.classes.*--data\.no-in-memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory: found none left"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                      "tried to allocate 4194304000 bytes. Error code 12"), "found none left for another 4,000 MiB"),
        (MemoryError("Unable to allocate 7.25 GiB for an array with shape (1,)"), "for another 7,424 MiB"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total"),
         r"memory: found none left on the GPU for another 20 MiB, expected"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "memory: found none left"),
        (RuntimeError("can't start new thread"), "threads: found that no more may be started, expected more"),
        (OSError(errno.EMFILE, "Too many open files"), r"^open files: found a limit of \d+, expected more \(ulimit -n"),
        (OSError(errno.EMFILE, "Too many open files", "a.png"), r"open files: found a limit of \d+ \(.*'a\.png'\)"),
    ],
)  # fmt: skip
def test_a_lack_is_one_line_that_says_what_to_change(error, found, monkeypatch, capsys):
    def verb(arguments):
        raise error

    monkeypatch.setattr(cli, "import_module", lambda name: types.SimpleNamespace(main=verb))
    monkeypatch.delenv("CIRCLET_TRACEBACK", raising=False)
    assert cli.main(["train"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("circlet train: ")
    with pytest.raises(OSError, match=found):
        raise OSError(line.removeprefix("circlet train: "))


def test_the_address_space_that_is_allowed_is_said(monkeypatch):
    monkeypatch.setattr(resources.resource, "getrlimit", lambda which: (3 << 30, 3 << 30))
    assert "found none left (ulimit -v allows 3,072 MiB), expected" in explained(MemoryError())


@pytest.mark.parametrize("error", [ValueError("shared memory"), RuntimeError("a fault"), OSError(errno.ENOSPC, "full")])
def test_other_errors_stay_what_they_are(error):
    assert explained(error) is None


def test_a_fault_of_the_code_is_not_hidden_in_a_line(monkeypatch):
    def verb(arguments):
        raise RuntimeError("a fault")

    monkeypatch.setattr(cli, "import_module", lambda name: types.SimpleNamespace(main=verb))
    with pytest.raises(RuntimeError, match="a fault"):
        cli.main(["train"])


@pytest.mark.subprocess
@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_the_same_error_from_a_worker(workers):
    names = [f"{index}.png" for index in range(8)]
    images = ImageSet(np.arange(8) % 2, ("a", "b"), tuple(names), Images())
    batches = WorkerBatches(DecodedImages(images, size=(8, 8)), workers, batch_size=4)
    found = []
    with pytest.raises(DataError, match=r"^5\.png: found no readable image \(ValueError: no picture\)$"):
        found.extend(batches)
    assert [batch[:, 0, 0, 0].tolist() for batch in found] == [[0, 1, 2, 3]]


def test_a_package_that_timm_needs_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "timm.py").write_text("import huggingface_hub_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"^timm needs huggingface_hub_that_is_not_there, which is not installed"):
        import_timm()


def test_a_torchvision_that_does_not_fit_is_one_line_however_often_it_is_met(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "timm.py").write_text("import torchvision\n")
    (tmp_path / "torchvision").mkdir()
    lines = ["first = 'registered' not in __import__('builtins').__dict__", "__import__('builtins').registered = True"]
    lines += ["if first: raise RuntimeError('operator torchvision::nms does not exist\\nand\\nmore')"]
    lines += ["raise AttributeError(\"partially initialized module 'torchvision' has no attribute 'extension'\")"]
    (tmp_path / "torchvision" / "__init__.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    import builtins

    monkeypatch.setattr(builtins, "registered", True, raising=False)
    monkeypatch.delattr(builtins, "registered")
    for reason in ("operator torchvision::nms does not exist", "partially initialized module"):
        with pytest.raises(ImportError, match=rf"^timm cannot be loaded: torchvision .* torch 2[^\n]*\({reason}.*$"):
            import_timm()
    network = torch.nn.Linear(2, 2)
    network.group_matcher = lambda coarse: {}
    assert depth._by_timm(network) is None
