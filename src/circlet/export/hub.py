"""The Hugging Face Hub: what may be a repository's name, and what its errors mean, in one line each.

The address is $HF_ENDPOINT, else https://huggingface.co; the token $HF_TOKEN, else that of `hf auth login`. A token is
no argument of a command, where others could read it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from circlet.optional import need

CLIENTS = ("huggingface_hub", "httpx2", "httpx", "httpcore", "requests", "urllib3")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|[._-](?=[A-Za-z0-9_])|_){0,95}")


def hub_api() -> Any:
    """huggingface_hub's HfApi for the address; ImportError without the extra."""
    api: Any = need("huggingface_hub", "hub").HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    return api


def checked_repository(name: str) -> str:
    """`name`, which must be owner/name as the hub has it: letters, digits, single '.', '-' and '_'.

    >>> checked_repository("me/birds-1")
    'me/birds-1'
    >>> checked_repository("../birds")
    Traceback (most recent call last):
    ValueError: repository: found '../birds', expected owner/name of letters, digits, '-', '_' and '.'
    """
    owner, slash, rest = name.partition("/")
    if not slash or not all(_NAME.fullmatch(part) for part in (owner, rest)):
        raise ValueError(f"repository: found {name!r}, expected owner/name of letters, digits, '-', '_' and '.'")
    return name


@contextmanager
def hub_errors(repository: str, endpoint: str, *, revision: str | None = None, then: str = "") -> Iterator[None]:
    """What goes wrong between here and the hub, within it, as an OSError of one line that says what to do.

    then: what holds after a connection that failed, such as that what was fetched is kept.
    """
    errors = need("huggingface_hub.errors", "hub")
    try:
        yield
    except errors.GatedRepoError as error:
        raise OSError(f"{repository}: may be read by those alone whom its owner lets in; ask at "
                      f"{endpoint}/{repository}, and log in (HF_TOKEN, or hf auth login)") from error  # fmt: skip
    except errors.RevisionNotFoundError as error:
        raise OSError(f"{repository}: found no revision {revision!r}, expected a branch, tag or commit of it "
                      "(--revision)") from error  # fmt: skip
    except errors.RepositoryNotFoundError as error:
        raise OSError(f"{repository}: found no such model on {endpoint}, or none that you may see; expected another "
                      "name, or a token that may (HF_TOKEN, or hf auth login)") from error  # fmt: skip
    except Exception as error:
        of_upload = isinstance(error, ConnectionError | TimeoutError | RuntimeError)  # hf_xet raises Python's own
        if not of_upload and not is_of_client(error) and not isinstance(error.__cause__, errors.HfHubHTTPError):
            raise
        raise OSError(f"{repository}: {_told(error, endpoint)}{then}") from error


def is_of_client(error: BaseException) -> bool:
    """Whether an error comes from the libraries that speak with the hub."""
    return type(error).__module__.partition(".")[0] in CLIENTS


def _told(error: BaseException, endpoint: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"{endpoint} does not know who you are (401), expected a token: set HF_TOKEN, or hf auth login"
    if status == 403:
        return "your token may not do that (403), expected one with the right to write there"
    if status is not None:
        why = " ".join(str(getattr(error, "server_message", None) or error).split())[:120]
        return f"{endpoint} answered {status} ({why}); try again later"
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    without = ", or HF_HUB_DISABLE_XET=1 where that hub has no Xet" if "xet" in reason.lower() else ""
    return f"{endpoint} could not be reached ({reason}), expected a connection{without}"
