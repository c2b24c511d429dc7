"""Sounds: a head on vectors of theirs, here mel spectra; the class is the instrument, whatever note it plays.

Run:     python examples/sounds.py
Prints:  MAP@R on instruments never trained on, of the spectra as they are and with the head.

The instruments are made up: each has three resonances of its own, through which it plays any note, and an attack.
Yours go in the same way: one vector a sound, of any network, in a Parquet file or straight from memory, as here.
"""

import numpy as np

import circlet
from circlet.data import split_classes, vector_set

RATE, BANDS = 16_000, 64
rng = np.random.default_rng(0)
times = np.arange(RATE // 2) / RATE


def sound(places: np.ndarray, widths: np.ndarray, attack: float) -> np.ndarray:
    """A note of an instrument, with noise: any pitch, loudness and vibrato; resonances let some harmonics through."""
    pitch = 80 * 2 ** rng.uniform(0, 2)
    phase = 2 * np.pi * pitch * (times + 2e-4 * np.sin(2 * np.pi * rng.uniform(4, 7) * times))
    harmonics = np.arange(1, int(RATE / 2 / pitch))
    octaves = np.log2(harmonics * pitch / 200)
    strengths = np.exp(-(((octaves[:, None] - places) / widths) ** 2)).sum(1) / harmonics**0.5
    envelope = (1 - np.exp(-times / attack)) * np.exp(-3 * times)
    wave = strengths @ np.sin(harmonics[:, None] * phase)
    return rng.uniform(0.2, 1) * wave * envelope + rng.normal(0, 0.01, len(times))


def spectrum(wave: np.ndarray) -> np.ndarray:
    """The logarithm of the power in each band, less the mean over the bands: loudness says nothing of an instrument."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(len(wave), 1 / RATE) / 700)
    band = np.minimum((mel / mel.max() * BANDS).astype(int), BANDS - 1)
    found = np.log(1e-1 + np.bincount(band, power, BANDS) / np.bincount(band, minlength=BANDS))
    return found - found.mean()


rows, labels = [], []
for instrument in range(60):
    own = rng.uniform(0, 5, 3), rng.uniform(0.2, 0.8, 3), rng.uniform(0.005, 0.1)
    rows += [spectrum(sound(*own)) for _ in range(12)]
    labels += [f"instrument {instrument:02}"] * 12

splits = split_classes(vector_set(np.stack(rows), labels))
run = circlet.train(circlet.recipes.vectors(), data=splits, report=False)
before = run.folder.read_result()["frozen"]
print(f"held-out instruments: MAP@R {before['map@r']:.3f} as they are, {run.metrics['map@r']:.3f} with the head")
