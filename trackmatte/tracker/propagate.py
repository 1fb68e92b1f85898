"""The tracker: one frame in, the masks of all objects out, and nothing kept but the memory bank.

What follows which frame is SAM 2's video predictor's (`sam2/sam2_video_predictor.py`): an object's first prompt is
decoded without memory and becomes a conditioning frame; a prompt on a later frame corrects what was tracked there. How
that is remembered is `PropagateOptions.seeds`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from trackmatte.errors import ModelError, PromptError
from trackmatte.kernels.pixels import Normalizer
from trackmatte.kernels.resize import Resizer
from trackmatte.kernels.transfer import upload
from trackmatte.tracker.memory import MemoryBank, Reading
from trackmatte.tracker.model import Model
from trackmatte.tracker.network import Decoded, ImageFeatures, PointPrompts
from trackmatte.tracker.objects import ObjectTable
from trackmatte.tracker.postprocess import MaskMaker, Overlap, SentMasks, fill_holes
from trackmatte.tracker.prompts import ObjectPrompt, gather
from trackmatte.types import BoolArray, Float32Array, Frame, ObjectMasks, Prompt

Seeds = Literal["pinned", "memory", "ahead"]
_SAM2_SIZE = 1024  # of the picture that SAM 2's networks see, whose masks are a quarter as large


@dataclass(frozen=True, slots=True, kw_only=True)
class PropagateOptions:
    """How masks follow from the network's output.

    Attributes:
        seeds: how a later prompt of an object is remembered: `pinned`, as a conditioning frame that stays (the
            predictor with `add_all_frames_to_correct_as_cond`); `memory`, as an ordinary frame (the predictor's
            default); `ahead`, as a conditioning frame that is known before the first frame is tracked, by `pin` (the
            predictor, where prompts are declared before propagation).
        forget: a later prompt makes the object forget what was tracked shortly before it (the predictor's
            `clear_non_cond_mem_around_input`).
        overlap: `exclusive` gives each pixel to one object at most; `allow` lets masks overlap.
        fill_hole_area: holes of at most so many pixels of a mask of 256 x 256, which SAM 2 has, are filled; of a
            smaller network's mask so many fewer, for the same share of the picture. 0 for none.
        clip_frames: the clip's length where it is known and short: below the network's 16, pointers of fewer frames
            count, as with the reference.
        conditioning: most conditioning frames that an object keeps; None for as many as the network reads at a time.
    """

    seeds: Seeds = "pinned"
    forget: bool = False
    overlap: Overlap = "exclusive"
    fill_hole_area: int = 8
    clip_frames: int | None = None
    conditioning: int | None = None


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
        self._bank = MemoryBank(
            model.network.memory_size,
            device=model.device,
            rows=max(len(self._objects), 1),
            conditioning=options.conditioning,
        )
        self._resize = Resizer(height, width, model.network.image_size, model.device)
        self._normalize = Normalizer(model.device)
        self._make_masks = MaskMaker(height, width)
        self._due: list[Prompt] = []
        self._pinned: dict[int, dict[int, Decoded]] = {}
        self._begin = 0
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
        for parts in self._pinned.values():
            parts.pop(self._objects.place(name), None)

    def pin(self, frame: Frame, prompts: Sequence[Prompt]) -> None:
        """Remembers what prompts say of a frame ahead of the tracking (`ahead`): before the first `step`, in any order.

        Raises:
            PromptError: a prompt can't be used.
        """
        gathered = gather(prompts, height=self._height, width=self._width)
        placed = {self._objects.place(name): prompt for name, prompt in gathered.items()}
        with self._model.inference():
            image = self.prepare(frame)
            parts = self._decode_alone(image, placed)
            places = sorted(parts)
            decoded = Decoded.join([parts[place] for place in places])
            logits = fill_holes(decoded.logits, self._hole_area)
            self._remember(image, frame.index, Prediction(tuple(places), decoded, logits), placed)
        self._pinned[frame.index] = parts
        self._begin = min(self._pinned)

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
            if prompts or (self._objects.tracked() and frame.index >= self._begin):
                image = image or self.prepare(frame)
                prediction = self._predict(image, frame.index, prompts)
                self._remember(image, frame.index, prediction, prompts)
            else:
                prediction = self._nothing()
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

    def _predict(self, image: ImageFeatures, index: int, prompts: dict[int, ObjectPrompt]) -> Prediction:
        """Masks of all objects that are tracked or prompted, in groups that share the shape of their input."""
        parts = dict(self._pinned.get(index, {}))
        given = [place for place, prompt in prompts.items() if prompt.mask is not None]
        tracked = [place for place in self._objects.tracked() if place not in given and place not in parts]
        for places, readings in self._by_memory(tracked, index):
            parts |= self._follow(image, places, readings, prompts)
        fresh = {place: prompt for place, prompt in prompts.items() if place in given or place not in parts}
        parts |= self._decode_alone(image, fresh)
        places = sorted(parts)
        decoded = Decoded.join([parts[place] for place in places])
        return Prediction(tuple(places), decoded, fill_holes(decoded.logits, self._hole_area))

    def _decode_alone(self, image: ImageFeatures, prompts: dict[int, ObjectPrompt]) -> dict[int, Decoded]:
        """What prompts say of their objects without any memory."""
        parts: dict[int, Decoded] = {}
        given = [place for place, prompt in prompts.items() if prompt.mask is not None]
        for places in _by_clicks([place for place in prompts if place not in given], prompts):
            attended = self._network.attend_memory(image, None).expand(len(places), -1, -1, -1)
            clicks = self._clicks([prompts[place] for place in places])
            parts |= _apart(places, self._network.decode_masks(image, attended, prompts=clicks))
        if given:
            masks = torch.cat([self._square_mask(prompts[place].mask) for place in given])
            parts |= _apart(given, self._network.adopt_masks(image, masks))
        return parts

    def _by_memory(self, places: list[int], index: int) -> list[tuple[list[int], list[Reading]]]:
        """Objects whose memories can be read together."""
        groups: defaultdict[object, tuple[list[int], list[Reading]]] = defaultdict(lambda: ([], []))
        for place in places:
            reading = self._bank.reading(self._row(place), index, pointers=self._pointers)
            group = groups[reading.shape]
            group[0].append(place)
            group[1].append(reading)
        return list(groups.values())

    def _follow(
        self, image: ImageFeatures, places: list[int], readings: list[Reading], prompts: dict[int, ObjectPrompt]
    ) -> dict[int, Decoded]:
        """Tracks objects that are read together, and corrects those that have prompts."""
        memories = self._bank.select([self._row(place) for place in places], readings, pointers=self._pointers)
        attended = self._network.attend_memory(image, memories)
        tracked = self._network.decode_masks(image, attended)
        parts = _apart(places, tracked)
        for corrected in _by_clicks([place for place in places if place in prompts], prompts):
            those = [places.index(place) for place in corrected]
            previous = fill_holes(torch.stack([tracked.logits[i] for i in those]), self._hole_area)
            clicks = self._clicks([prompts[place] for place in corrected])
            their = torch.stack([attended[i] for i in those])
            better = self._network.decode_masks(image, their, prompts=clicks, previous=previous)
            parts |= _apart(corrected, better)
        return parts

    def _remember(
        self, image: ImageFeatures, index: int, prediction: Prediction, prompts: dict[int, ObjectPrompt]
    ) -> None:
        """Writes the frame into the memory of every object in `prediction`, but those that were pinned there."""
        pinned = self._pinned.pop(index, {})
        those = [i for i, place in enumerate(prediction.places) if place not in pinned]
        if not those:
            return
        places = [prediction.places[i] for i in those]
        decoded = Decoded.join([prediction.decoded[i : i + 1] for i in those]) if pinned else prediction.decoded
        prompted = [place in prompts for place in places]
        logits = decoded.logits
        if any(prompted):
            logits = torch.stack(
                [
                    (prediction if hard else prediction.decoded).logits[i]
                    for i, hard in zip(those, prompted, strict=True)
                ]
            )
        seen = Decoded(logits, decoded.scores, decoded.pointers)
        maps = self._network.encode_memory(image, seen, prompted=prompted)
        stays = []
        for place in places:
            entry = self._objects[place]
            first = entry.row is None
            entry.row = self._bank.claim() if entry.row is None else entry.row
            entry.seeded = True
            stays.append(first or (place in prompts and self._options.seeds != "memory"))
            if place in prompts and self._options.forget:
                self._bank.forget_around(entry.row, index)
        rows = [self._row(place) for place in places]
        self._bank.write(rows, index, maps, decoded.pointers, conditioning=stays)

    def _clicks(self, prompts: Sequence[ObjectPrompt]) -> PointPrompts:
        """Prompts of equal numbers of clicks, in pixels of the network's square."""
        size = np.array([self._width, self._height], np.float32)
        shares = np.stack([prompt.coordinates for prompt in prompts]) / size
        labels = np.array([prompt.labels for prompt in prompts], np.int32)
        coordinates = upload(shares * np.float32(self._network.image_size), self._model.device)
        return PointPrompts(coordinates, upload(labels, self._model.device))

    def _square_mask(self, mask: BoolArray | None) -> torch.Tensor:
        """(1, 1, S, S) float32, 0 or 1: a mask resized; what is too thin to survive keeps its fullest pixels."""
        size = self._network.image_size
        given = upload(np.asarray(mask), self._model.device)[None, None].to(torch.float32)
        if given.shape[-2:] == (size, size):
            return given
        resized = F.interpolate(given, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        return (resized >= resized.max().clamp(max=0.5)).to(torch.float32)

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
                duration=frame.duration,
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
