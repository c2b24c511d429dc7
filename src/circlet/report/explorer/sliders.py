"""Sliders: what the page needs to know of a hyper-parameter, from what the loss declares of it."""

import math
from dataclasses import dataclass

from circlet.losses import HyperParameter

SYMBOLS = {"margin": "m", "gamma": "γ", "temperature": "τ", "alpha": "α", "beta": "β"}
FACTOR, FURTHEST = 32.0, 1000.0  # a scale is moved by this factor either way, and typed up to that one


@dataclass(frozen=True)
class Slider:
    """The slider and the number input of one hyper-parameter.

    label, text: its name, and what it is. start: the default. low, high, step: of the slider; of a logarithmic one, the
    step is in powers of 2. least, most: what may be typed.
    """

    name: str
    label: str
    text: str
    start: float
    logarithmic: bool
    low: float
    high: float
    step: float
    least: float
    most: float


def slider(name: str, parameter: HyperParameter) -> Slider:
    """Scales and temperatures are moved in powers of 2 around the default; all else evenly, within its bounds.

    >>> from circlet import ArcFaceLoss
    >>> shown = slider("gamma", ArcFaceLoss.declared["gamma"])
    >>> shown.low, shown.high, shown.label
    (2.0, 2048.0, 'gamma γ')
    """
    label, start = " ".join([*name.split("_"), SYMBOLS.get(name, "")]).strip(), parameter.default
    if parameter.role in ("scale", "temperature"):
        ends = start / FACTOR, start * FACTOR, 0.05, start / FURTHEST, start * FURTHEST
        return Slider(name, label, parameter.text, start, True, *ends)
    reach = 1.0 if abs(start) <= 1 else 2 * abs(start)  # similarities are -1 to 1
    low = parameter.low if math.isfinite(parameter.low) else min(-reach, parameter.high - reach)
    high = parameter.high if math.isfinite(parameter.high) else max(reach, parameter.low + reach)
    step = 10.0 ** math.floor(math.log10((high - low) / 100))
    least, most = max(parameter.low, -FURTHEST), min(parameter.high, FURTHEST)
    return Slider(name, label, parameter.text, start, False, low, high, step, least, most)
