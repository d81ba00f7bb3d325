"""Trains a model on a dataset and makes an artefact that a worker can load. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow
from numpy.typing import NDArray
from PIL import Image

from inference import engines, own, store, tasks
from inference.decoding import cut_files
from inference.model import Model
from inference.photo_folders import readable
from inference.preparing import agreement, architecture
from inference.preparing.convert import now, versions
from inference.preparing.subprocess_task import Tell
from inference.training import dataset, features, figures, fit, nets, none_of_these, parts, pictures
from inference.training.dataset import Dataset, Photos
from inference.training.figures import Figures
from inference.training.fit import Fitted, TrainingBatches
from inference.training.none_of_these import NoneOfThese
from inference.training.parts import TEST, TRAIN, VALIDATION
from inference.training.pictures import Pictures
from inference.training.recipe import TrainingRequest
from inference.training.report import Mistake, TrainingReport, accuracy
from shoal.errors import Permanent

HEAD_EPOCHS, UNFROZEN_EPOCHS, SCRATCH_EPOCHS = 100, 10, 40
UNFROZEN_RATE, SCRATCH_RATE = 3e-5, 1e-3
UNFROZEN_PATIENCE, SCRATCH_PATIENCE = 3, 8
UNFROZEN_BATCH, SCRATCH_BATCH = 16, 64

_COMPARED = 64  # test images on which the engine is compared with Keras
_TEST_BATCH = 32
_TELL_EVERY = 16  # images

Split = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class PartAnswers:
    """What the artefact says of the images of a part.

    said, probability, right: the best class of each image, its probability, and whether it is the true class, [N].
    wrong:                    the wrong answers with their images, the surest first.
    """

    said: NDArray[np.int64]
    probability: NDArray[np.float32]
    right: NDArray[np.bool_]
    wrong: list[tuple[Mistake, NDArray[np.uint8]]]


class Training:
    """One training: open images, train a net, convert it to an artefact, and measure that on the test images."""

    def __init__(self, request: TrainingRequest, tell: Tell) -> None:
        self._request = request
        self._recipe = request.recipe
        self._tell = tell
        self._engine = engines.by_name(request.engine)
        request.made.mkdir()

    def run(self) -> dict[str, Any]:
        """Train; write the model into `request.made` and its report into `request.report`. Raises Permanent.

        Returns facts for people. They are told as {"made": facts} when the model is finished, before the report:
        the parent process then moves the model into the cache, so a failing report cannot lose it.
        """
        device = self._use_device()
        found = dataset.find(self._request.dataset)
        self._classes = found.classes
        self._model = self._describe()
        self._pictures = self._open(found)
        self._parts = self._split()
        if self._recipe.scratch_net:
            net, stages = self._from_scratch()
        else:
            net, stages = self._on_backbone()
        compared = self._make_artefact(net)
        test, validation = self._judge()
        measured = figures.measure(self._classes, self._pictures.labels[self._parts[TEST]], test.said)
        none = self._learn_none(test, validation)
        done = {
            "accuracy": accuracy(measured),
            "too_few": figures.too_few(measured),
            "none_of_these": none.words,
            "device": device,
            "skipped": [f"{name}: {why}" for name, why in self._pictures.skipped],
            "agreement": compared,
        }
        self._tell(made=done)
        self._report(self._facts(device, compared), stages, measured, none, (test, validation))
        return done

    def _describe(self, none_below: float = 0.0) -> Model:
        recipe = self._recipe
        task, side = ("classify_whole", recipe.side) if recipe.scratch_net else ("classify", self._backbone().side)
        return own.describe(recipe.name, task, side, self._classes, self._request.made, none_below=none_below)

    def _backbone(self) -> Model:
        return store.model(self._recipe.backbone, self._request.cache_dir)

    def _use_device(self) -> str:
        """Make the computation repeatable, and return the name of the device in words."""
        keras.utils.set_random_seed(self._recipe.seed)
        tensorflow.config.experimental.enable_op_determinism()
        self._gpus = tensorflow.config.list_physical_devices("GPU")
        for gpu in self._gpus:
            tensorflow.config.experimental.set_memory_growth(gpu, True)
        names = [
            tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in self._gpus
        ]
        device = f"the GPU ({', '.join(names)})" if names else "the CPU (TensorFlow sees no GPU)"
        self._tell(say=f"training on {device}")
        return device

    def _open(self, found: Dataset) -> Pictures:
        file, step = self._request.scratch / "pixels.npy", self._step(f"opening {len(found)} images")
        if not isinstance(found, Photos):
            return pictures.open_arrays(found, self._model.side, file, step)
        task = tasks.by_name(self._model.task)

        def decode(payload: bytes) -> NDArray[np.uint8]:
            decoded = task.decode(self._model, payload, self._request.max_pixels)
            cut_files.check_whole(decoded.warnings)
            pixels: NDArray[np.uint8] = decoded.tensor[0]
            return pixels

        opened = pictures.open_photos(found, decode, self._model.side, self._request.max_bytes, file, step)
        dataset.check_enough(found.classes, opened.labels, found.folder)
        return opened

    def _split(self) -> Split:
        recipe = self._recipe
        split = parts.split(self._pictures.labels, self._pictures.given, recipe.seed, recipe.validation, recipe.test)
        learned = set(self._pictures.labels[split[TRAIN]])
        missing = [name for number, name in enumerate(self._classes) if number not in learned]
        if missing:
            raise Permanent(f"there are no images to train {', '.join(missing)} on: all of them are in other parts")
        self._tell(say=", ".join(f"{len(indices)} images for {name}" for name, indices in split.items()))
        return split

    def _on_backbone(self) -> tuple[Any, list[Fitted]]:
        """Train a head on frozen features; then, with `unfreeze`, both on images."""
        stock = self._backbone()
        self._tell(say=f"reading {stock.title}")
        inner = nets.backbone(stock, store.model_folder(stock, self._request.cache_dir, None) / store.WEIGHTS)
        body = nets.with_preprocessing(stock, inner)
        (train, train_labels), validation = self._features(stock, inner, body)
        top = nets.head(train.shape[-1], len(self._classes))
        epochs, told = self._epochs("training the head", HEAD_EPOCHS)
        stages = [fit.arrays("the head", top, (train, train_labels), validation, epochs, told)]
        net = nets.joined(body, top)
        if self._recipe.unfreeze:
            layers = nets.unfreeze(inner, self._recipe.unfreeze)
            stage = f"the head and the last {layers} layers of {stock.title}"
            stages.append(
                self._on_images(stage, net, UNFROZEN_EPOCHS, UNFROZEN_RATE, UNFROZEN_PATIENCE, UNFROZEN_BATCH)
            )
        return net, stages

    def _features(self, stock: Model, inner: Any, body: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """(features, labels) of the training images with their views, and of the validation images."""
        train, validation = self._parts[TRAIN], self._parts[VALIDATION]
        views = 0 if self._recipe.augment == "none" else self._recipe.views
        wanted = [(int(index), view) for index in train for view in range(1 + views)]
        wanted += [(int(index), 0) for index in validation]
        step = self._step(f"what {stock.title} sees in {len(wanted)} views")
        run = self._runner(stock, inner, body)
        rows = features.compute(self._pictures.pixels, wanted, self._recipe.augment, run, self._request.kept, step)
        labels = self._pictures.labels[[index for index, _ in wanted]]
        split = len(wanted) - len(validation)
        return (rows[:split], labels[:split]), (rows[split:], labels[split:])

    def _runner(self, stock: Model, inner: Any, body: Any) -> features.Run:
        """The backbone in Keras on a GPU; else in OpenVINO, which is several times faster on a CPU."""
        if self._gpus:
            return lambda batch: np.asarray(body.predict_on_batch(batch.astype(np.float32)))
        folder = self._request.scratch / "backbone"
        folder.mkdir()
        fast = engines.by_name("openvino")
        fast.convert(architecture.with_preprocessing(stock, inner), folder)
        loaded = fast.load(stock, folder)
        return lambda batch: loaded.infer(batch)[0]

    def _from_scratch(self) -> tuple[Any, list[Fitted]]:
        recipe = self._recipe
        net = nets.SCRATCH[recipe.scratch_net](recipe.side, recipe.grey, len(self._classes))
        stage = f"{recipe.scratch_net} ({net.count_params():,} weights)"
        return net, [self._on_images(stage, net, SCRATCH_EPOCHS, SCRATCH_RATE, SCRATCH_PATIENCE, SCRATCH_BATCH)]

    def _on_images(self, stage: str, net: Any, epochs: int, rate: float, patience: int, size: int) -> Fitted:
        train = TrainingBatches(self._pictures, self._parts[TRAIN], size, self._recipe.augment, self._recipe.seed)
        validation = TrainingBatches(self._pictures, self._parts[VALIDATION], size)
        epochs, told = self._epochs(f"training {stage}", epochs)
        return fit.images(stage, net, train, validation, epochs, self._recipe.rate or rate, patience, told)

    def _make_artefact(self, net: Any) -> dict[str, Any]:
        """Write the net and the engine's artefact with their cards, as `inference.store` describes."""
        self._tell(say=f"converting it for {self._request.engine}")
        weights, folder = self._request.made / store.WEIGHTS, self._request.made / self._request.engine
        weights.mkdir()
        net.save(weights / own.NET)
        folder.mkdir()
        whole = architecture.with_preprocessing(self._model, net)
        self._engine.convert(whole, folder)
        self._tell(say="comparing it with Keras on test images")
        found = agreement.measure(self._model, whole, self._engine, folder, self._some_test_images())
        self._write_card(weights, store.WEIGHTS, {})
        self._write_card(folder, self._request.engine, found)
        return found

    def _write_card(self, folder: Path, engine: str, found: dict[str, Any]) -> None:
        start = self._recipe.scratch_net or self._recipe.backbone
        learned = f"{len(self._parts[TRAIN])} images of {len(self._classes)} classes"
        store.Card(
            model=self._recipe.name,
            engine=engine,
            source=f"trained on {learned} in {readable(self._request.dataset)}, {start}",
            checksum=f"sha256:{store.sha256(self._request.made / store.WEIGHTS / own.NET)}",
            licence="the user's own",
            files=store.describe(folder),
            versions=versions(),
            made_at=now(),
            agreement=found,
        ).write(folder)

    def _some_test_images(self) -> list[Path]:
        """Write up to _COMPARED test images as files."""
        some = self._parts[TEST][:: -(-len(self._parts[TEST]) // _COMPARED)]
        folder = self._request.scratch / "compared"
        folder.mkdir()
        for index in some:
            Image.fromarray(self._pictures.pixels[index]).save(folder / f"{index}.png")
        return sorted(folder.iterdir())

    def _judge(self) -> tuple[PartAnswers, PartAnswers]:
        """The answers of the artefact, loaded as in a worker, to the test images and to the validation images."""
        self._tell(say="measuring it on the test images")
        return self._answers(self._parts[TEST]), self._answers(self._parts[VALIDATION])

    def _answers(self, part: NDArray[np.int64]) -> PartAnswers:
        if not len(part):
            return PartAnswers(part, np.empty(0, np.float32), np.empty(0, np.bool_), [])
        loaded = self._engine.load(self._model, self._request.made / self._request.engine)
        batches = [part[start : start + _TEST_BATCH] for start in range(0, len(part), _TEST_BATCH)]
        found = np.concatenate([loaded.infer(self._pictures.pixels[batch])[0] for batch in batches])
        true, said, probability = self._pictures.labels[part], found.argmax(axis=1), found.max(axis=1)
        wrong = [
            (
                Mistake(
                    self._pictures.names[part[row]],
                    self._classes[true[row]],
                    self._classes[said[row]],
                    round(float(probability[row]), 4),
                ),
                self._pictures.pixels[part[row]],
            )
            for row in np.flatnonzero(true != said)
        ]
        return PartAnswers(said, probability, true == said, sorted(wrong, key=lambda one: -one[0].probability))

    def _learn_none(self, test: PartAnswers, validation: PartAnswers) -> NoneOfThese:
        """Learn when the model answers "none of these", and write that into its description."""
        share = self._recipe.none_of_these
        right = validation.probability[validation.right]
        found = none_of_these.learn(right, test.probability, test.right, share)
        self._describe(found.below)
        return found

    def _facts(self, device: str, compared: dict[str, Any]) -> list[tuple[str, str]]:
        recipe = self._recipe
        return [
            ("made", now()),
            *([("command", self._request.command)] if self._request.command else []),
            ("dataset", readable(self._request.dataset)),
            ("start", f"{recipe.scratch_net}, from scratch" if recipe.scratch_net else recipe.backbone),
            (
                "images to train / to validate / to test",
                " / ".join(str(len(self._parts[p])) for p in parts.PARTS),
            ),
            ("computed on", device),
            ("seed", str(recipe.seed)),
            (
                "labels of the artefact that are those of Keras",
                f"{compared['float32']['same_label']} of {compared['photos']}",
            ),
        ]

    def _report(
        self,
        facts: list[tuple[str, str]],
        stages: list[Fitted],
        measured: Figures,
        none: NoneOfThese,
        answers: tuple[PartAnswers, PartAnswers],
    ) -> None:
        test, validation = answers
        self._request.report.mkdir()
        TrainingReport(
            self._recipe.name,
            tuple(facts),
            self._photos_by_class(),
            measured,
            tuple(asdict(stage) for stage in stages),
            tuple(mistake for mistake, _ in test.wrong),
            self._pictures.skipped,
            none,
        ).write(self._request.report, validation.wrong)

    def _photos_by_class(self) -> dict[str, tuple[int, int, int]]:
        """Class -> its images to train, to validate and to test."""
        labels, size = self._pictures.labels, len(self._classes)
        counts = [np.bincount(labels[self._parts[part]], minlength=size) for part in parts.PARTS]
        rows = zip(*counts, strict=True)
        return {
            name: (int(train), int(validate), int(test))
            for name, (train, validate, test) in zip(self._classes, rows, strict=True)
        }

    def _step(self, what: str) -> pictures.Step:
        def step(done: int, of: int) -> None:
            if done % _TELL_EVERY == 0 or done == of:
                self._tell(step=what, at=done, of=of)

        return step

    def _epochs(self, what: str, usual: int) -> tuple[int, fit.Epoch]:
        """The largest number of epochs, and the function that reports each."""

        def told(number: int, of: int, found: dict[str, float]) -> None:
            note = f"validation {found['val_accuracy']:.1%}, loss {found['val_loss']:.3f}"
            self._tell(step=what, at=number, of=of, note=note)

        return self._recipe.epochs or usual, told
