"""Two attacks that rebuild photos from activations. The attacker knows the head, as everybody does who has the device.

- Decoder: a small net learns on other photos to give back the picture of an activation
  (Dosovitskiy and Brox 2016, arXiv:1506.02753).
- Inversion: the picture is sought whose activation is the one that was seen, by gradient descent
  (Mahendran and Vedaldi 2015, arXiv:1412.0035). It begins with what the decoder gave.

Imports TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.model import Model
from inference.preparing import architecture

Pictures = NDArray[np.uint8]
Numbers = NDArray[np.float32]

INVERSION_RATE = 0.03  # of Adam, for pixels from 0 to 1
SMOOTH = 0.2  # what unsmoothness costs beside a wrong activation
DECODER_RATE = 1e-3
WIDTHS = (192, 160, 128, 64, 32)  # channels of the decoder at 7, 14, 28, 56 and 112 pixels
BATCH = 8
SEED = 18


@dataclass(frozen=True)
class KnownHead:
    """The head of a cut, as the attacker has it. net: the whole net, without its preprocessing."""

    model: Model
    net: Any
    cut: str

    def part(self) -> Any:
        """The layers up to the cut; their input is preprocessed."""
        import keras

        return keras.Model(self.net.inputs, self.net.get_layer(self.cut).output)

    def activations(self, pictures: Pictures) -> Numbers:
        """What the device sends of the pictures [N, side, side, 3]."""
        found = architecture.with_preprocessing(self.model, self.part()).predict(pictures, batch_size=BATCH, verbose=0)
        return np.asarray(found, np.float32)


@dataclass(frozen=True)
class Rebuilt:
    """Pictures that an attack made. steps: of its descent. seconds: of a processor, for the whole attack."""

    pictures: Pictures
    steps: int
    seconds: float


def invert(head: KnownHead, seen: Numbers, start: Pictures, seconds: float, most_steps: int = 1500) -> Rebuilt:
    """Seek the pictures whose activations are `seen`, all at once, for so many seconds of a processor.

    start: the pictures to begin with.
    """
    import tensorflow as tf

    part = head.part()
    pixels = tf.Variable(start.astype(np.float32) / 255)
    wanted = tf.constant(seen)
    size = tf.reduce_sum(wanted**2, axis=[1, 2, 3])
    descent = _Adam(tf, [pixels])

    def seek(rate: Any) -> Any:
        with tf.GradientTape() as tape:
            found = part([architecture.preprocess(head.model, pixels * 255.0)], training=False)
            wrong = tf.reduce_sum((found - wanted) ** 2, axis=[1, 2, 3]) / size
            loss = tf.reduce_sum(wrong + SMOOTH * _unsmooth(tf, pixels))
        descent.apply(tape.gradient(loss, [pixels]), rate)
        pixels.assign(tf.clip_by_value(pixels, 0.0, 1.0))
        return loss

    steps, spent = _descend(tf.function(seek), INVERSION_RATE, seconds, most_steps)
    return Rebuilt(_as_pictures(pixels.numpy()), steps, spent)


def decode(
    head: KnownHead,
    seen: Numbers,
    others: Pictures,
    seconds: float,
    most_steps: int = 4000,
    remedy: Callable[[Numbers], Numbers] | None = None,
) -> Rebuilt:
    """Train a decoder on the other pictures and their mirror images, and let it decode what is `seen`.

    seconds: of a processor, the activations of the other pictures included. remedy: what arrives of activations.
    """
    import tensorflow as tf

    began = time.process_time()
    shown = np.concatenate([others, others[:, :, ::-1]])
    known = head.activations(shown)
    known = remedy(known) if remedy else known
    scale = float(known.std()) or 1.0
    known = (known / scale).astype(np.float16)
    decoder = _decoder(seen.shape[1:])
    descent = _Adam(tf, decoder.trainable_variables)
    order = np.random.default_rng(SEED)

    def learn(activation: Any, picture: Any, rate: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(decoder(activation, training=True) - picture))
        descent.apply(tape.gradient(loss, decoder.trainable_variables), rate)
        return loss

    compiled = tf.function(learn)

    def step(rate: Any) -> Any:
        rows = order.choice(len(shown), BATCH, replace=False)
        pictures = shown[rows].astype(np.float32) / 255
        return compiled(tf.constant(known[rows].astype(np.float32)), tf.constant(pictures), rate)

    steps, _ = _descend(step, DECODER_RATE, seconds - (time.process_time() - began), most_steps)
    found = decoder((seen / scale).astype(np.float32), training=False)
    return Rebuilt(_as_pictures(np.asarray(found)), steps, time.process_time() - began)


def _decoder(shape: tuple[int, ...]) -> Any:
    """A net from an activation [h, w, c] to pixels [224, 224, 3] from 0 to 1, doubling the size until it has them."""
    import keras

    layers = keras.layers
    size = int(shape[0])
    given = keras.Input(shape)
    flow = layers.Conv2D(_width(size), 1, padding="same", activation="relu")(given)
    while size < 112:
        flow = layers.UpSampling2D(2)(flow)
        size *= 2
        flow = layers.Conv2D(_width(size), 3, padding="same", activation="relu")(flow)
    # Four pixels of three colours in the place of each.
    flow = layers.Conv2D(12, 3, padding="same", activation="sigmoid")(flow)
    flow = layers.Reshape((size, size, 2, 2, 3))(flow)
    flow = layers.Permute((1, 3, 2, 4, 5))(flow)
    return keras.Model(given, layers.Reshape((2 * size, 2 * size, 3))(flow))


def _width(size: int) -> int:
    return WIDTHS[{7: 0, 14: 1, 28: 2, 56: 3}.get(size, 4)]


class _Adam:
    """Adam (Kingma and Ba 2015) whose rate is told at each step."""

    def __init__(self, tf: Any, variables: Any) -> None:
        self._tf = tf
        self._variables = list(variables)
        self._means = [tf.Variable(tf.zeros(one.shape)) for one in self._variables]
        self._squares = [tf.Variable(tf.zeros(one.shape)) for one in self._variables]
        self._count = tf.Variable(0.0)

    def apply(self, gradients: Any, rate: Any) -> None:
        """One step against the gradients."""
        self._count.assign_add(1.0)
        grown = rate * self._tf.sqrt(1 - 0.999**self._count) / (1 - 0.9**self._count)
        for variable, gradient, mean, square in zip(
            self._variables, gradients, self._means, self._squares, strict=True
        ):
            mean.assign(0.9 * mean + 0.1 * gradient)
            square.assign(0.999 * square + 0.001 * gradient**2)
            variable.assign(variable - grown * mean / (self._tf.sqrt(square) + 1e-8))


def _descend(step: Callable[[Any], Any], rate: float, seconds: float, most_steps: int) -> tuple[int, float]:
    """Take steps until so many seconds of a processor are over. Returns steps and seconds.

    The rate falls to a tenth towards the end.
    """
    import tensorflow as tf

    began = time.process_time()
    steps, share = 0, 0.0
    while share < 1:
        step(tf.constant(rate * 0.1**share, tf.float32))
        steps += 1
        share = max((time.process_time() - began) / max(seconds, 1e-3), steps / most_steps)
    return steps, time.process_time() - began


def _unsmooth(tf: Any, pixels: Any) -> Any:
    """The mean difference between neighbouring pixels, for each picture."""
    down = pixels[:, 1:, :-1] - pixels[:, :-1, :-1]
    right = pixels[:, :-1, 1:] - pixels[:, :-1, :-1]
    return tf.reduce_mean(tf.sqrt(down**2 + right**2 + 1e-6), axis=[1, 2, 3])


def _as_pictures(pixels: NDArray[Any]) -> Pictures:
    return np.asarray(np.clip(np.rint(pixels * 255), 0, 255), np.uint8)
