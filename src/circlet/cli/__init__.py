"""The command line: `circlet VERB ...`. Each verb is a module of this package and is loaded only when called."""

import difflib
import io
import os
import sys
from importlib import import_module

from circlet.cli.errors import told
from circlet.resources import explained
from circlet.terminal import printable

VERBS = {
    "train": "train an embedding and test it on classes that it has never seen",
    "recipes": "list the recipes of train, the paper's among them; show where each setting is from",
    "evaluate": "test a trained embedding again, on the same or on other images",
    "embed": "write the embeddings of images to .npy and a table, or in resumable parts",
    "index": "index images, to search, identify and serve them; without a training if you like",
    "search": "find the images of an index that are most similar to yours",
    "identify": "say which class of an index an image is of, or that it is unknown",
    "verify": "say whether two images are of one class",
    "dedupe": "find equal files and near duplicates",
    "cluster": "sort images into clusters by how they look",
    "audit": "look for what is wrong with a set of images: duplicates, leaks, labels",
    "export": "write a model as an ONNX or safetensors file, with its model card",
    "push": "upload a model to the Hugging Face Hub",
    "pull": "fetch a model that push has uploaded",
    "serve": "serve an index: a page, for a phone too, and a JSON API",
    "report": "build the report of a finished run again",
    "figure": "draw the paper's figures, from the losses or from runs, and the interactive explorer",
    "compare": "train several losses alike, over several seeds, and say which differ",
    "suggest": "look at what a run has logged and say what to change",
    "plan": "say what a training would take, before anybody pays for it: memory, time, traffic",
    "bench": "time and memory of the loss on this machine, beside its peers",
    "datasets": "list the data sets that can be read, show their layout, check a copy",
}

HELP = """usage: circlet VERB [options]

Deep metric learning: train an embedding of images, test it on unseen classes, use it.

verbs:
{verbs}

examples:
  circlet train                                  characters from typefaces, nothing to download, about two minutes
  circlet train folder --root photos             your images, in a folder for each class
  circlet evaluate runs/folder-1
  circlet index photos                           search your photos: nothing to train, nothing to download
  circlet search photos.index query.jpg
  circlet audit photos                           what is wrong with a folder of images

circlet VERB --help shows the options of a verb, circlet --version the version.
Errors are one line; CIRCLET_TRACEBACK=1 shows where they came from.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 after an error, 2 for wrong usage, 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<10} {text}" for verb, text in VERBS.items())), end="")
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        import circlet

        print(f"circlet {circlet.__version__}")
        return 0
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no name that it cannot write ends work that is done
            stream.reconfigure(errors="backslashreplace")
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(VERBS)}"
        print(f"circlet: no verb {verb!r}; {hint}", file=sys.stderr)
        return 2
    try:
        import_module(f"circlet.cli.{verb}").main(arguments[1:])
    except KeyboardInterrupt as error:
        print(f"circlet: {printable(str(error)) or 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 141
    except (ValueError, OSError, ImportError, MemoryError, FloatingPointError, RuntimeError) as error:
        unknown = isinstance(error, RuntimeError) and explained(error) is None  # of PyTorch, or ours
        if unknown or os.environ.get("CIRCLET_TRACEBACK"):
            raise
        print(f"circlet {verb}: {told(error)}", file=sys.stderr)
        return 1
    return 0
