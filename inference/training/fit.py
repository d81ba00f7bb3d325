"""Trains nets with early stopping. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from inference.training.pictures import Pictures
from inference.training.views import view

Epoch = Callable[[int, int, dict[str, float]], None]  # its number from 1, the largest number of epochs, its figures

HEAD_RATE = 1e-3
HEAD_PATIENCE = 5  # epochs without a better validation loss, after which training stops
BATCH = 32

_LEAST_GAIN = 1e-3  # of the validation loss; a smaller gain does not count


@dataclass(frozen=True, slots=True)
class Fitted:
    """A stage of a training: its name, the figures of each epoch, and the number (from 1) of the kept epoch."""

    stage: str
    epochs: list[dict[str, float]]
    best: int


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """The images of a part in batches, read when they are needed. Each epoch has other views of the images."""

    def __init__(
        self, pictures: Pictures, indices: NDArray[np.int64], size: int, kind: str = "none", seed: int | None = None
    ) -> None:
        """Without a seed the images are neither altered nor shuffled."""
        super().__init__()
        self._pictures = pictures
        self._indices = indices
        self._size = size
        self._kind = kind
        self._random = None if seed is None else np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self._indices) // self._size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        chosen = self._order[index * self._size : (index + 1) * self._size]
        pixels = self._pictures.pixels[chosen]
        if self._random is not None:
            pixels = np.stack([view(self._kind, one, self._random) for one in pixels])
        return pixels.astype(np.float32), self._pictures.labels[chosen]

    def on_epoch_end(self) -> None:
        """Shuffle the images for the next epoch."""
        self._order = self._indices if self._random is None else self._random.permutation(self._indices)


def arrays(
    stage: str, net: Any, train: tuple[Any, Any], validation: tuple[Any, Any], epochs: int, on_epoch: Epoch
) -> Fitted:
    """Train a head on features (x, y) in memory."""
    _compile(net, HEAD_RATE)
    more = {"batch_size": BATCH, "epochs": epochs, "validation_data": validation}
    return _fit(stage, net, train, on_epoch, HEAD_PATIENCE, **more)


def images(
    stage: str,
    net: Any,
    train: TrainingBatches,
    validation: TrainingBatches,
    epochs: int,
    rate: float,
    patience: int,
    on_epoch: Epoch,
) -> Fitted:
    """Train on images; the learning rate falls when the validation loss no longer falls."""
    _compile(net, rate)
    slower = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=max(1, patience // 2))
    # TrainingBatches shuffles.
    more = {"shuffle": False, "epochs": epochs, "validation_data": validation, "callbacks": [slower]}
    return _fit(stage, net, (train,), on_epoch, patience, **more)


def _compile(net: Any, rate: float) -> None:
    net.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])


def _fit(stage: str, net: Any, data: Any, on_epoch: Epoch, patience: int, **options: Any) -> Fitted:
    stop = keras.callbacks.EarlyStopping("val_loss", _LEAST_GAIN, patience, restore_best_weights=True)
    epochs: list[dict[str, float]] = []

    def told(number: int, logs: dict[str, Any]) -> None:
        epochs.append({name: float(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")})
        on_epoch(number + 1, options["epochs"], epochs[-1])

    callbacks = [*options.pop("callbacks", ()), stop, keras.callbacks.LambdaCallback(on_epoch_end=told)]
    net.fit(*data, verbose=0, callbacks=callbacks, **options)
    return Fitted(stage, epochs, 1 + stop.best_epoch)
