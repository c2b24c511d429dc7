"""Settings as earlier versions wrote them, in today's words, so that their runs load, go on and are compared.

Each line is a setting that was renamed or removed. A version that cannot be read is refused by `from_json`, which
names the setting.
"""

from typing import Any

# (section, old name): new name.
RENAMED = {("model", "view"): "crop_share"}


def as_of_now(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a config.json with today's names.

    >>> as_of_now({"model": {"view": 0.9}})
    {'model': {'crop_share': 0.9}}
    """
    found = {name: dict(part) if isinstance(part, dict) else part for name, part in content.items()}
    for (section, old), new in RENAMED.items():
        part = found.get(section)
        if isinstance(part, dict) and old in part:
            part[new] = part.pop(old)
    return found
