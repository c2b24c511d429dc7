"""`push`: a model, its card and its exports to the Hugging Face Hub, in one commit; nothing else of the run folder."""

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from circlet.export.hub import checked_repository, hub_api, hub_errors
from circlet.export.licences import checked_licence
from circlet.export.record import (
    CARD,
    FILES,
    RECORD,
    SAFETENSORS,
    default_folder,
    entry_of,
    of_model,
    read_record,
    write_record,
)
from circlet.export.writing import counts_of, write_model_card
from circlet.inference import Model
from circlet.inference.safetensors_file import save_safetensors
from circlet.locks import locked
from circlet.optional import need


class Pushed(NamedTuple):
    """Where it lies. files: what was uploaded. left: exports in the folder that were made of another model."""

    url: str
    commit: str
    files: tuple[str, ...]
    left: tuple[str, ...]


def push(
    model: Model, repository: str, *, private: bool = False, licence: str | None = None, trust: Collection[str] = ()
) -> Pushed:
    """Upload a model to `repository` (owner/name), which is made if it is not there.

    model.safetensors and README.md are written into the export folder first; with them go model.onnx and
    model-int8.onnx, if they were exported from this model. private: make it visible to its owner alone; one that is
    public already is an error. licence: of the model, for the card.

    Raises ValueError for names that cannot be, OSError of one line for whatever the hub refuses or a connection that
    fails, ImportError without the extra.
    """
    checked_repository(repository)
    if licence is not None:
        checked_licence(licence)
    api = hub_api()
    hub = need("huggingface_hub", "hub")
    if hub.get_token() is None:
        raise OSError(f"{repository}: found no token to write with, expected one in HF_TOKEN, or hf auth login")
    folder = default_folder(model)
    names, left = _prepared(folder, model, licence, trust)
    with hub_errors(repository, api.endpoint, then="; nothing was published"):
        url = api.create_repo(repository, private=private or None, exist_ok=True, repo_type="model")
        if private and not api.model_info(repository).private:
            raise OSError(f"{repository}: is public already, expected a private one: make it private on the hub, or "
                          "push without --private")  # fmt: skip
        added = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in names]
        with _quietly():
            done = api.create_commit(repository, added, commit_message=f"circlet push: {model.digest[:8]}")
    return Pushed(str(url), str(done.oid), names, left)


def _prepared(
    folder: Path, model: Model, licence: str | None, trust: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the files to upload, all of them of this model, and of those that are of another."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        record = read_record(folder)
        files = of_model(folder, record, model)
        if SAFETENSORS not in files:
            save_safetensors(model, folder / SAFETENSORS, counts=counts_of(model), trust=trust)
            record = write_record(folder, record, SAFETENSORS, entry_of(model, folder / SAFETENSORS))
            files = (SAFETENSORS, *files)
        write_model_card(folder, record, model, files, licence)
    left = tuple(name for name in FILES if (folder / name).exists() and name not in files)
    return (*files, RECORD, CARD), left


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the bars of the hub's library, and its remarks to its developers."""
    utils = need("huggingface_hub.utils", "hub")
    before = utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if not before:
            utils.enable_progress_bars()
