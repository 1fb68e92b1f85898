"""The tracker: one frame in, the masks of all objects out, and nothing kept but the memory bank.

What follows which frame is SAM 2's video predictor's, with its default settings (`sam2/sam2_video_predictor.py`): an
object's first prompt is decoded without memory and becomes its conditioning frame; a prompt on a later frame
corrects what was tracked there, and counts as an ordinary memory from then on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from trackmatte.errors import ModelError, PromptError
from trackmatte.kernels.pixels import Normalizer
from trackmatte.kernels.resize import Resizer
from trackmatte.tracker.memory import MemoryBank
from trackmatte.tracker.model import Model
from trackmatte.tracker.network import Decoded, ImageFeatures, PointPrompts
from trackmatte.tracker.objects import ObjectTable
from trackmatte.tracker.postprocess import MaskMaker, Overlap, SentMasks, fill_holes
from trackmatte.tracker.prompts import ObjectPrompt, gather
from trackmatte.types import BoolArray, Float32Array, Frame, ObjectMasks, Prompt

_SAM2_SIZE = 1024  # of the picture that SAM 2's networks see, whose masks are a quarter as large


@dataclass(frozen=True, slots=True, kw_only=True)
class PropagateOptions:
    """How masks follow from the network's output.

    Attributes:
        overlap: `exclusive` gives each pixel to one object at most; `allow` lets masks overlap.
        fill_hole_area: holes of at most so many pixels of a mask of 256 x 256, which SAM 2 has, are filled; of a
            smaller network's mask so many fewer, for the same share of the picture. 0 for none.
        clip_frames: the clip's length where it is known and short: below the network's 16, pointers of fewer frames
            count, as with the reference.
    """

    overlap: Overlap = "exclusive"
    fill_hole_area: int = 8
    clip_frames: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the network says of one frame.

    Attributes:
        places: P places in `Propagator.names`, ascending: the objects that are tracked.
        decoded: of these P objects; logits before holes are filled.
        logits: (P, 1, S / 4, S / 4) float32, with holes filled.
    """

    places: tuple[int, ...]
    decoded: Decoded
    logits: torch.Tensor


class Propagator:
    """Follows objects through a clip that streams by. To be used from one thread."""

    def __init__(
        self,
        model: Model,
        *,
        height: int,
        width: int,
        names: Sequence[str] = (),
        options: PropagateOptions = PropagateOptions(),
    ) -> None:
        """Prepares a run.

        Args:
            model: from `load_model`.
            height: rows of the clip's frames as displayed.
            width: columns of them.
            names: the objects that the run will have, in the order of the results; objects that prompts name beyond
                these are added at the end.
            options: how masks are made.
        """
        self._model, self._network, self._options = model, model.network, options
        self._height, self._width = height, width
        self._objects = ObjectTable(names)
        self._bank = MemoryBank(model.network.memory_size, device=model.device, rows=max(len(self._objects), 1))
        self._resize = Resizer(height, width, model.network.image_size, model.device)
        self._normalize = Normalizer(model.device)
        self._make_masks = MaskMaker(height, width)
        self._due: list[Prompt] = []
        self._step = 0
        most = model.network.memory_size.pointers
        self._pointers = min(most, options.clip_frames or most)
        self._hole_area = round(options.fill_hole_area * (model.network.image_size / _SAM2_SIZE) ** 2)

    @property
    def names(self) -> tuple[str, ...]:
        """The objects, in the order of axis O of the results."""
        return self._objects.names

    def seed(self, prompts: Sequence[Prompt]) -> None:
        """Adds prompts for the next frame: an object's first, or a correction. Their own times are not looked at.

        Raises:
            PromptError: a prompt can't be used; none of `prompts` is then taken.
        """
        due = [*self._due, *prompts]
        for name in gather(due, height=self._height, width=self._width, seeded=self._objects.tracked_names()):
            self._objects.place(name)
        self._due = due

    def remove(self, name: str) -> None:
        """Stops following an object; its place in the results stays, empty. A later prompt starts it anew.

        Raises:
            PromptError: no object has that name.
        """
        if name not in self.names:
            raise PromptError(f"no object is named {name!r}; the objects are {', '.join(self.names) or 'none'}")
        entry = self._objects[self._objects.place(name)]
        if entry.row is not None:
            self._bank.evict(entry.row)
            entry.row = None
        self._due = [prompt for prompt in self._due if prompt.name != name]

    def prepare(self, frame: Frame) -> ImageFeatures:
        """What the network sees in a frame, whatever the objects; may be called ahead and on another thread."""
        with self._model.inference():
            return self._network.encode_image(self._normalize(self._resize(frame.image8)))

    def step(self, frame: Frame, image: ImageFeatures | None = None) -> ObjectMasks:
        """Follows the objects into the next frame.

        Args:
            frame: of the clip's size.
            image: from `prepare`, of this frame, where it was made ahead.

        Returns:
            The masks of all objects, at the frame's place in time.
        """
        return self.masks(frame, self.advance(frame, image))

    def advance(self, frame: Frame, image: ImageFeatures | None = None) -> Prediction:
        """The network's part of `step`.

        Raises:
            ValueError: the frame is not of the run's size.
        """
        if (frame.height, frame.width) != (self._height, self._width):
            raise ValueError(f"frame of {frame.width}x{frame.height} in a run of {self._width}x{self._height}")
        prompts = self._take_prompts()
        with self._model.inference():
            if prompts or self._objects.tracked():
                image = image or self.prepare(frame)
                prediction = self._predict(image, prompts)
                self._remember(image, prediction, prompts)
            else:
                prediction = self._nothing()
        self._step += 1
        return prediction

    def _take_prompts(self) -> dict[int, ObjectPrompt]:
        tracked = self._objects.tracked_names()
        gathered = gather(self._due, height=self._height, width=self._width, seeded=tracked)
        self._due = []
        return {self._objects.place(name): prompt for name, prompt in gathered.items()}

    def _nothing(self) -> Prediction:
        side = self._network.image_size // 4
        empty = torch.empty(0, 1, side, side)
        return Prediction((), Decoded(empty, torch.empty(0, 1), torch.empty(0, 1)), empty)

    def _predict(self, image: ImageFeatures, prompts: dict[int, ObjectPrompt]) -> Prediction:
        """Masks of all objects that are tracked or prompted, in groups that share the shape of their input."""
        parts: dict[int, Decoded] = {}
        given = [place for place, prompt in prompts.items() if prompt.mask is not None]
        for places in self._by_memory([place for place in self._objects.tracked() if place not in given]):
            parts |= self._follow(image, places, prompts)
        fresh = [place for place in prompts if place not in given and place not in parts]
        for places in _by_clicks(fresh, prompts):
            attended = self._network.attend_memory(image, None).expand(len(places), -1, -1, -1)
            clicks = self._clicks([prompts[place] for place in places])
            parts |= _apart(places, self._network.decode_masks(image, attended, prompts=clicks))
        if given:
            masks = torch.cat([self._square_mask(prompts[place].mask) for place in given])
            parts |= _apart(given, self._network.adopt_masks(image, masks))
        places = sorted(parts)
        decoded = Decoded.join([parts[place] for place in places])
        return Prediction(tuple(places), decoded, fill_holes(decoded.logits, self._hole_area))

    def _by_memory(self, places: list[int]) -> list[list[int]]:
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for place in places:
            groups[self._bank.filled(self._row(place), self._step)].append(place)
        return list(groups.values())

    def _follow(self, image: ImageFeatures, places: list[int], prompts: dict[int, ObjectPrompt]) -> dict[int, Decoded]:
        """Tracks objects of equally filled memory, and corrects those that have prompts."""
        rows = [self._row(place) for place in places]
        memories = self._bank.select(rows, self._step, pointers=self._pointers)
        attended = self._network.attend_memory(image, memories)
        tracked = self._network.decode_masks(image, attended)
        parts = _apart(places, tracked)
        for corrected in _by_clicks([place for place in places if place in prompts], prompts):
            those = [places.index(place) for place in corrected]
            previous = fill_holes(tracked.logits[those], self._hole_area)
            clicks = self._clicks([prompts[place] for place in corrected])
            better = self._network.decode_masks(image, attended[those], prompts=clicks, previous=previous)
            parts |= _apart(corrected, better)
        return parts

    def _remember(self, image: ImageFeatures, prediction: Prediction, prompts: dict[int, ObjectPrompt]) -> None:
        """Writes the frame into the memory of every object in `prediction`."""
        places, decoded = prediction.places, prediction.decoded
        prompted = torch.tensor([place in prompts for place in places], device=self._model.device)
        filled = torch.where(prompted[:, None, None, None], prediction.logits, decoded.logits)
        seen = Decoded(filled, decoded.scores, decoded.pointers)
        maps = self._network.encode_memory(image, seen, prompted=prompted)
        first = [self._objects[place].row is None for place in places]
        for place in places:
            entry = self._objects[place]
            entry.seeded = True
            entry.row = self._bank.claim() if entry.row is None else entry.row
        self._bank.write([self._row(place) for place in places], self._step, maps, decoded.pointers, first=first)

    def _clicks(self, prompts: Sequence[ObjectPrompt]) -> PointPrompts:
        """Prompts of equal numbers of clicks, in pixels of the network's square."""
        device = self._model.device
        size = torch.tensor([self._width, self._height], dtype=torch.float32)
        coordinates = torch.from_numpy(np.stack([prompt.coordinates for prompt in prompts]))
        labels = torch.tensor([prompt.labels for prompt in prompts], dtype=torch.int32)
        return PointPrompts((coordinates / size * self._network.image_size).to(device), labels.to(device))

    def _square_mask(self, mask: BoolArray | None) -> torch.Tensor:
        """(1, 1, S, S) float32, 0 or 1: a mask resized; what is too thin to survive keeps its fullest pixels."""
        size = self._network.image_size
        given = torch.from_numpy(np.asarray(mask))[None, None].to(self._model.device, torch.float32)
        if given.shape[-2:] == (size, size):
            return given
        resized = F.interpolate(given, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        return (resized >= min(0.5, float(resized.max()))).to(torch.float32)

    def _overflow(self, index: int) -> str:
        dtype = str(self._model.dtype).removeprefix("torch.")
        remedy = "use other weights" if self._model.dtype == torch.float32 else "choose precision fp32"
        return f"the network's numbers overflow at frame {index} in {dtype} with these weights; {remedy}"

    def _row(self, place: int) -> int:
        row = self._objects[place].row
        assert row is not None
        return row

    def masks(self, frame: Frame, prediction: Prediction) -> ObjectMasks:
        """The rest of `step`: masks of the clip's size.

        Raises:
            ModelError: the network's numbers overflowed, which would look like an object that is lost.
        """
        return self.asked(frame, prediction)()

    def asked(self, frame: Frame, prediction: Prediction) -> Callable[[], ObjectMasks]:
        """Asks for what `masks` gives, and returns what waits for it; the device may be given more in between."""
        made = self._ask(prediction)
        names, seeded = self.names, np.array(self._objects.seeded, np.bool_)

        def wait() -> ObjectMasks:
            masks, scores = made()
            if not np.isfinite(scores).all():
                raise ModelError(self._overflow(frame.index))
            return ObjectMasks(
                index=frame.index,
                pts=frame.pts,
                time_base=frame.time_base,
                names=names,
                masks=masks,
                scores=scores,
                present=np.asarray(masks.any(axis=(1, 2))),
                seeded=seeded,
            )

        return wait

    def _ask(self, prediction: Prediction) -> Callable[[], tuple[BoolArray, Float32Array]]:
        """Masks (N, H, W) and scores (N,) of all objects; on a CPU they are made at once."""
        places, count, shape = list(prediction.places), len(self._objects), (self._height, self._width)
        with self._model.inference():
            scores = prediction.decoded.scores[:, 0].float()
            if places and scores.device.type != "cpu":
                size = {"height": self._height, "width": self._width}
                sent = SentMasks(prediction.logits, scores, **size, overlap=self._options.overlap)
                return lambda: _spread(*sent.read(), places, count)
        masks = np.zeros((count, *shape), np.bool_)
        probabilities = np.zeros(count, np.float32)
        if places:
            probabilities[places] = scores.sigmoid().numpy()
            here = (scores > 0).nonzero()[:, 0].tolist()
            if here and np.isfinite(probabilities).all():
                self._make_masks(prediction.logits[here], self._options.overlap, masks, [places[i] for i in here])
        return lambda: (masks, probabilities)


def _spread(masks: BoolArray, scores: Float32Array, places: list[int], count: int) -> tuple[BoolArray, Float32Array]:
    """Those of some objects at their places among `count`; the others have none and 0."""
    if places == list(range(count)):
        return masks, scores
    every, each = np.zeros((count, *masks.shape[1:]), np.bool_), np.zeros(count, np.float32)
    every[places], each[places] = masks, scores
    return every, each


def _apart(places: Sequence[int], decoded: Decoded) -> dict[int, Decoded]:
    return {place: decoded[i : i + 1] for i, place in enumerate(places)}


def _by_clicks(places: Sequence[int], prompts: dict[int, ObjectPrompt]) -> list[list[int]]:
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in places:
        groups[len(prompts[place].labels)].append(place)
    return list(groups.values())
