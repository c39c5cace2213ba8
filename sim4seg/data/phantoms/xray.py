"""Radiographs of bones: broken or whole (FracAtlas), by kind of fracture (bf), by part of the limb (bfd)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sim4seg.data.phantoms.canvas import (
    Field,
    Mask,
    Painting,
    Shape,
    capsules,
    clouds,
    discs,
    grain,
    grid,
    local,
    random_shape,
    soft,
    tilt,
    unit,
)
from sim4seg.data.sample import PhantomStructure

FRACATLAS_LABELS = ("fractured", "non-fractured")
KIND_LABELS = ("transverse fracture", "oblique fracture", "spiral fracture", "comminuted fracture")
PART_LABELS = (
    "elbow positive",
    "fingers positive",
    "forearm fracture",
    "humerus fracture",
    "shoulder fracture",
    "wrist positive",
)
SITES = ("hand", "leg", "hip", "shoulder")
TWO_PANELS = 0.15
"""Share of bf and bfd images that are two radiographs side by side, with different labels."""


@dataclass(frozen=True)
class _Bone:
    """A long bone: middle (x, y), direction (radians), half length and half width in pixels."""

    middle: tuple[float, float]
    angle: float
    half_length: float
    half_width: float
    knuckles: int = 0
    """Joints that cut a finger's bone into phalanges."""


@dataclass(frozen=True)
class _Break:
    """A fracture: place along the bone (pixels from the middle) and kind (one of KIND_LABELS)."""

    place: float
    kind: str


def paint_fracatlas(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A radiograph (H, W) of one to three bones, one of them broken if ``label`` is "fractured"."""
    shape = random_shape(rng, size)
    site = str(rng.choice(SITES))
    bones = {"hand": 3, "leg": 2, "hip": 1, "shoulder": 1}[site]
    kind = str(rng.choice(KIND_LABELS)) if label == "fractured" else None
    image, mask = _shafts(rng, shape, bones, kind)
    structures = () if mask is None else (PhantomStructure(mask, label),)
    attributes: dict[str, str | int | float] = {name: int(name == site) for name in SITES}
    return Painting(_expose(rng, image), structures, attributes)


def paint_kind(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A radiograph (H, W) of a shaft with a fracture of that kind, sometimes beside another of a second kind."""

    def panel(shape: Shape, name: str) -> tuple[Field, Mask]:
        image, mask = _shafts(rng, shape, int(rng.integers(1, 3)), name)
        return image, np.zeros(shape, dtype=bool) if mask is None else mask

    return _panels(rng, label, KIND_LABELS, size, panel)


def paint_part(rng: np.random.Generator, label: str, size: int) -> Painting:
    """A radiograph (H, W) of one part of the arm with a break in it, marked by a turned rectangle."""
    return _panels(rng, label, PART_LABELS, size, lambda shape, name: _part(rng, shape, name))


def _panels(
    rng: np.random.Generator,
    label: str,
    labels: tuple[str, ...],
    size: int,
    panel: Callable[[Shape, str], tuple[Field, Mask]],
) -> Painting:
    """One radiograph, or two of half the width with different labels."""
    shape = random_shape(rng, size)
    names = [label]
    if shape[1] > shape[0] and rng.random() < TWO_PANELS:
        names.append(str(rng.choice([name for name in labels if name != label])))
    edges = [round(shape[1] * number / len(names)) for number in range(len(names) + 1)]
    image, structures = np.zeros(shape, dtype=np.float32), []
    for name, left, right in zip(names, edges[:-1], edges[1:], strict=True):
        image[:, left:right], part = panel((shape[0], right - left), name)
        mask = np.zeros(shape, dtype=bool)
        mask[:, left:right] = part
        structures.append(PhantomStructure(mask, name))
    return Painting(_expose(rng, image), tuple(structures))


def _flesh(rng: np.random.Generator, shape: Shape, middle: tuple[float, float], angle: float, half: float) -> Field:
    """Soft tissue: a grey band along the limb on a dark film."""
    _, across = local(shape, middle, angle)
    band = soft(np.float32(half) - np.abs(across), 0.5 * half)
    film: Field = 0.06 + band * (0.2 + 0.03 * clouds(rng, shape, 40))
    return film


def _shafts(rng: np.random.Generator, shape: Shape, count: int, kind: str | None) -> tuple[Field, Mask | None]:
    """Parallel shafts across the picture, one of them with a fracture of that kind (None: whole)."""
    scale = unit(shape)
    half = rng.uniform(*{1: (23, 34), 2: (16, 24), 3: (13, 17)}[count]) * scale
    angle = rng.uniform(0, np.pi)
    broken = int(rng.integers(count))
    # the break comes first, anywhere in the picture; the shafts are laid through it
    margin = 0.2
    spot = tuple(float(side * rng.uniform(margin, 1 - margin)) for side in (shape[1], shape[0]))
    pitch = half * rng.uniform(2.7, 3.3)
    reach = 1.6 * max(shape)
    image = _flesh(rng, shape, (spot[0], spot[1]), angle, half + count * pitch)
    mask: Mask | None = None
    for number in range(count):
        apart = (number - broken) * pitch
        middle = (spot[0] - apart * float(np.sin(angle)), spot[1] + apart * float(np.cos(angle)))
        bone = _Bone(middle, angle, reach, half)
        if number == broken and kind is not None:
            image, mask = _draw(rng, image, bone, _Break(0.0, kind))
        else:
            image, _ = _draw(rng, image, bone, None)
    return _distractors(rng, image, angle), mask


def _outline(u: Field, v: Field, bone: _Bone) -> Field:
    """Pixels from the bone's border, positive inside; ends are round and flared."""
    along = np.clip(np.abs(u) / np.float32(bone.half_length), 0, 1.2)
    half = np.float32(bone.half_width) * (1 + 0.35 * along**6)
    if bone.knuckles:
        half = half * (0.86 + 0.14 * np.cos(2 * np.pi * (bone.knuckles + 1) * (u / (2 * bone.half_length) + 0.5)))
    border: Field = np.minimum(half - np.abs(v), np.float32(bone.half_length) - np.abs(u))
    return border


def _draw(rng: np.random.Generator, image: Field, bone: _Bone, gap: _Break | None) -> tuple[Field, Mask | None]:
    """Lay a bone over ``image``; with a break also its mask: the bone's part around the fracture's line."""
    shape = (image.shape[0], image.shape[1])
    scale = unit(shape)
    u, v = local(shape, bone.middle, bone.angle)
    dark, mask = None, None
    if gap is not None:
        dark, near, shift = _fracture(rng, u - np.float32(gap.place), v, bone.half_width, gap.kind, scale)
        v = v + shift
    border = _outline(u, v, bone)
    cover = soft(border, 2.5 * scale)
    cortex = np.exp(-((border / np.float32(max(0.22 * bone.half_width, 2.5 * scale)) - 0.6) ** 2))
    value = 0.56 + 0.26 * cortex
    if bone.knuckles:
        phase = (bone.knuckles + 1) * (u / np.float32(2 * bone.half_length) + 0.5)
        joint = np.abs(phase - np.round(phase)) * np.float32(2 * bone.half_length / (bone.knuckles + 1))
        value = value - 0.22 * soft(3 * scale - joint, 3 * scale)
    if gap is not None and dark is not None:
        value = value * (1 - 0.92 * dark)
        mask = (border > -2 * scale) & (near > 0)
    return image + cover * (value - image), mask


def _fracture(
    rng: np.random.Generator, u: Field, v: Field, half: float, kind: str, scale: float
) -> tuple[Field, Field, Field]:
    """The dark line (0..1), a field that is positive near it, and the shift across of the far part (pixels)."""
    width = rng.uniform(7, 9.5) * scale
    band = 15 * scale
    lean = float(rng.choice([-1.0, 1.0]))
    if kind == "transverse fracture":
        line = u + np.float32(0.1 * rng.uniform(-1, 1)) * v
        slip = rng.uniform(0.1, 0.3)
    elif kind == "oblique fracture":
        tilted = np.float32(lean * rng.uniform(0.9, 1.2))
        line = (u + tilted * v) / np.sqrt(1 + tilted * tilted)
        slip = rng.uniform(0.1, 0.3)
    elif kind == "spiral fracture":
        # a helix seen from the side: an S that runs far along the bone
        long = np.float32(lean * 1.9 * half)
        turn = np.clip(v / np.float32(half), -1, 1)
        line = (u + long * np.sin(turn * np.float32(np.pi / 2)) ** 3) / np.float32(1.7)
        slip = 0.0
        band = 16 * scale
    else:
        return _splinters(rng, u, v, half, scale)
    shift = np.float32(lean * slip * half) * soft(line, 2 * scale)
    return soft(width / 2 - np.abs(line), 2 * scale), np.float32(band) - np.abs(line), shift


def _splinters(rng: np.random.Generator, u: Field, v: Field, half: float, scale: float) -> tuple[Field, Field, Field]:
    """A comminuted zone: cells around scattered seeds, dark between them, the border bulging."""
    zone = np.float32(1.15 * half)
    nearest = np.full(u.shape, np.inf, dtype=np.float32)
    second = nearest.copy()
    for number in range(7):
        along = (number / 6 * 2 - 1) * 1.1 * half
        across = (1 if number % 2 else -1) * rng.uniform(0.25, 0.7) * half
        apart = np.hypot(u - np.float32(along), v - np.float32(across))
        second = np.minimum(second, np.maximum(nearest, apart))
        nearest = np.minimum(nearest, apart)
    inside = zone - np.abs(u)
    crack = soft(np.float32(5.5 * scale) - (second - nearest), 3 * scale)
    dark = crack * soft(inside, 4 * scale)
    bulge = -np.float32(0.3 * half) * np.clip(inside / zone, 0, 1) * np.clip(v / np.float32(half), -1, 1)
    return dark, inside, bulge


def _part(rng: np.random.Generator, shape: Shape, name: str) -> tuple[Field, Mask]:
    """The bones of a part of the arm, turned and moved at random, one of them broken."""
    scale = unit(shape) * rng.uniform(0.9, 1.15)
    middle = tuple(float(side * rng.uniform(0.4, 0.6)) for side in (shape[1], shape[0]))
    turn = rng.uniform(-0.5, 0.5) + (np.pi / 2 if shape[0] >= shape[1] else 0.0) + rng.choice([0.0, np.pi])
    plan = _plan(rng, name, scale)
    image = _flesh(rng, shape, (middle[0], middle[1]), turn, 95 * scale)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))

    def placed(bone: _Bone) -> _Bone:
        x, y = bone.middle
        where = (middle[0] + x * cos - y * sin, middle[1] + x * sin + y * cos)
        return _Bone(where, bone.angle + turn, bone.half_length, bone.half_width, bone.knuckles)

    bones = [placed(bone) for bone in plan.bones]
    round_places = [(middle[0] + x * cos - y * sin, middle[1] + x * sin + y * cos) for x, y in plan.rounds]
    if round_places:
        image = image + discs(shape, round_places, [plan.round_radius] * len(round_places)) * (0.72 - image)
    candidates = _visible(shape, bones, plan.breakable)
    index, place = candidates[int(rng.integers(len(candidates)))]
    for number, bone in enumerate(bones):
        gap = _Break(place, KIND_LABELS[int(rng.integers(2))]) if number == index else None
        image, _ = _draw(rng, image, bone, gap)
    return _distractors(rng, image, turn), _rectangle(shape, bones[index], place, scale)


@dataclass(frozen=True)
class _Plan:
    """The bones of a part around the origin before it is turned, and which of them may break."""

    bones: tuple[_Bone, ...]
    breakable: tuple[int, ...]
    rounds: tuple[tuple[float, float], ...] = ()
    round_radius: float = 0.0


def _plan(rng: np.random.Generator, name: str, scale: float) -> _Plan:
    def bone(x: float, y: float, angle: float, long: float, half: float, knuckles: int = 0) -> _Bone:
        return _Bone((x * scale, y * scale), angle, long * scale, half * scale, knuckles)

    if name == "fingers positive":
        return _Plan(tuple(bone(0, y, 0.0, 125, 11, 2) for y in (-66, -22, 22, 66)), (0, 1, 2, 3))
    if name == "forearm fracture":
        return _Plan((bone(0, -25, 0.03, 220, 15), bone(0, 25, -0.03, 220, 17)), (0, 1))
    if name == "humerus fracture":
        return _Plan((bone(0, 0, 0.0, 240, 27),), (0,))
    if name == "shoulder fracture":
        collar = bone(-62, -58, 1.15, 80, 11)
        return _Plan((bone(75, 0, 0.0, 120, 20), collar), (0,), ((-45 * scale, 0.0),), 44 * scale)
    if name == "elbow positive":
        bend = float(rng.choice([-1.0, 1.0])) * rng.uniform(1.2, 1.7)
        far = (62 * np.cos(bend) + 5, 62 * np.sin(bend))
        return _Plan((bone(-72, 0, 0.0, 75, 21), bone(far[0], far[1], bend, 80, 19)), (0, 1))
    carpals = tuple(
        ((12 + 24 * column) * scale, (row - 1.5 - 0.25 * (-1) ** column) * 23 * scale)
        for column in range(3)
        for row in range(4)
    )
    arm = (bone(-92, -26, 0.0, 90, 20), bone(-92, 26, 0.0, 90, 16))
    return _Plan(arm, (0, 1), carpals, 10.5 * scale)


def _visible(shape: Shape, bones: list[_Bone], breakable: tuple[int, ...]) -> list[tuple[int, float]]:
    """(bone, place along it) of possible breaks that lie well inside the picture and off the bone's ends."""
    fractures = []
    for index in breakable:
        bone = bones[index]
        for share in np.linspace(-0.7, 0.7, 15):
            place = float(share) * bone.half_length
            x = bone.middle[0] + place * float(np.cos(bone.angle))
            y = bone.middle[1] + place * float(np.sin(bone.angle))
            if 0.14 * shape[1] < x < 0.86 * shape[1] and 0.14 * shape[0] < y < 0.86 * shape[0]:
                fractures.append((index, place))
    return fractures or [(breakable[0], 0.0)]


def _rectangle(shape: Shape, bone: _Bone, place: float, scale: float) -> Mask:
    """A rectangle along the bone that holds the break."""
    u, v = local(shape, bone.middle, bone.angle)
    long = max(1.0 * bone.half_width, 15 * scale)
    inside: Mask = (np.abs(u - np.float32(place)) < long) & (np.abs(v) < 1.35 * bone.half_width)
    return inside


def _distractors(rng: np.random.Generator, image: Field, angle: float) -> Field:
    """A rod or pins (bright), a nutrient canal (thin, along the bone), a side letter and a film's border."""
    shape = (image.shape[0], image.shape[1])
    scale = unit(shape)
    height, width = shape
    if rng.random() < 0.25:
        x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
        lean = angle + rng.uniform(-0.3, 0.3)
        far = (x + 50 * scale * float(np.cos(lean)), y + 50 * scale * float(np.sin(lean)))
        image = image + capsules(shape, [(x, y), far], [5 * scale] * 2) * (1.0 - image)
    if rng.random() < 0.5:
        left, top = rng.uniform(0.03, 0.9) * width, rng.uniform(0.02, 0.08) * height
        letter = [(left, top), (left, top + 14 * scale), (left + 8 * scale, top + 14 * scale)]
        image = image + capsules(shape, letter, [3 * scale] * 3) * (0.95 - image)
    if rng.random() < 0.3:
        x, _ = grid(shape)
        edge = rng.uniform(0.0, 0.05) * width
        image = image * (0.3 + 0.7 * soft(x - np.float32(edge), 2))
    return image


def _expose(rng: np.random.Generator, image: Field) -> Field:
    shape = (image.shape[0], image.shape[1])
    exposed: Field = np.clip(image, 0, 1) ** np.float32(rng.uniform(0.85, 1.2)) * tilt(rng, shape, rng.uniform(0, 0.3))
    return exposed * np.float32(rng.uniform(0.85, 1.0)) + 0.03 * grain(rng, shape)
