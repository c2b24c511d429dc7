"""The run that exports are made of."""

from tests.export.made import model, photos, run  # noqa: F401
from tests.models.conftest import shallow, timm, torchvision  # noqa: F401
