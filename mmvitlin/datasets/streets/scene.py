"""Whole scenes: what stands where, in which light."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmvitlin.datasets.streets.canvas import NEAR, Camera, Canvas
from mmvitlin.datasets.streets.classes import LABEL_IDS, THINGS, TRAIN_ID
from mmvitlin.datasets.streets.objects import PAINTERS, reach

FAR = 140.0


@dataclass
class Rendered:
    """A drawn scene.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        labels: (H, W) uint8 train ids, 0–18.
        instances: (H, W) int32, 0 where there is no instance.
    """
    image: np.ndarray
    labels: np.ndarray
    instances: np.ndarray

    def label_ids(self) -> np.ndarray:
        """Labels as the original Cityscapes ids, uint8."""
        return np.array(LABEL_IDS, np.uint8)[self.labels]

    def instance_ids(self) -> np.ndarray:
        """Cityscapes' instanceIds: label id, or label id · 1000 + number for things."""
        ids = self.label_ids().astype(np.int32)
        things = self.instances > 0
        ids[things] = ids[things] * 1000 + self.instances[things] % 1000
        return ids.astype(np.uint16)


@dataclass
class _Light:
    tint: np.ndarray
    fog: np.ndarray
    visibility: float
    sky: tuple[np.ndarray, np.ndarray]
    noise: float


def _light(rng) -> _Light:
    kind = rng.choice(['sun', 'overcast', 'dusk', 'haze', 'dark'], p=[0.35, 0.3, 0.13, 0.14, 0.08])
    tint = {'sun': (0.95, 1.0, 1.06), 'overcast': (1.0, 0.97, 0.94), 'dusk': (0.62, 0.68, 0.85),
            'haze': (1.0, 1.0, 1.0), 'dark': (0.45, 0.4, 0.38)}[kind]
    sky = {'sun': ((215, 160, 110), (245, 225, 205)),
           'overcast': ((205, 200, 195), (235, 232, 230)),
           'dusk': ((150, 105, 110), (120, 170, 240)), 'haze': ((220, 220, 220), (232, 232, 232)),
           'dark': ((110, 85, 75), (150, 120, 105))}[kind]
    wobble = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.85, 1.12)
    low = np.array(sky[1], float)
    return _Light(np.array(tint) * wobble, low * 0.9,
                  rng.uniform(70, 130) if kind == 'haze' else rng.uniform(200, 700),
                  (np.array(sky[0], float) * rng.uniform(0.85, 1.1), low), rng.uniform(1.5, 6))


def _cloudy(shape, rng, coarse: int, fine: int) -> np.ndarray:
    """Smooth noise in about [-1, 1], the same field at every resolution."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for cells, weight in ((coarse, 0.65), (fine, 0.35)):
        grid = rng.uniform(-1, 1, (cells, cells * 2)).astype(np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total


def _paint_sky(canvas: Canvas, light: _Light, rng) -> None:
    height, width = canvas.codes.shape
    rows = np.linspace(0, 1, height)[:, None, None] / max(canvas.camera.horizon, 0.1)
    sky = light.sky[0] + (light.sky[1] - light.sky[0]) * np.minimum(rows, 1)
    clouds = _cloudy((height, width), rng, 4, 11)[..., None].clip(0, 1) * rng.uniform(0, 60)
    canvas.image[:] = np.clip(sky + clouds, 0, 255).astype(np.uint8)
    canvas.codes[:] = TRAIN_ID['sky']


def _strip(x0: float, x1: float, z0: float, z1: float, y: float = 0.) -> np.ndarray:
    return np.array([[x0, y, z0], [x1, y, z0], [x1, y, z1], [x0, y, z1]])


@dataclass
class _Layout:
    """Cross-section of the street, in metres from the camera's path."""
    left: float
    right: float
    walks: tuple[float, float]

    def edge(self, side: int) -> float:
        return self.right if side > 0 else -self.left

    def outer(self, side: int) -> float:
        return self.edge(side) + side * self.walks[0 if side < 0 else 1]


def _paint_ground(canvas: Canvas, street: _Layout, rng) -> None:
    grass = np.array([60, 110, 95]) * rng.uniform(0.6, 1.25) + rng.uniform(-15, 15, 3)
    asphalt = np.full(3, rng.uniform(60, 125)) + rng.uniform(-10, 10, 3)
    paving = np.full(3, rng.uniform(95, 180)) + rng.uniform(-22, 22, 3)
    outside = 'terrain' if rng.random() < 0.55 else 'sidewalk'
    far = canvas.camera.project(np.array([[0., 0., 4000.]]))[0, 1]
    corners = np.array([[0, far], [canvas.camera.width, far],
                        [canvas.camera.width, canvas.camera.height], [0, canvas.camera.height]])
    canvas.fill([corners], grass if outside == 'terrain' else paving * 0.92, outside, 20)
    for side in (-1, 1):
        inner, outer = sorted((street.edge(side), street.outer(side)))
        canvas.quad(_strip(inner, outer, NEAR, 900), paving, 'sidewalk')
        for z in np.geomspace(2, 40, 22):  # joints between slabs
            canvas.quad(_strip(inner, outer, z, z * 1.006), paving * 0.82, 'sidewalk')
        kerb = street.edge(side)
        canvas.quad(_strip(*sorted((kerb, kerb + side * 0.15)), NEAR, 900), paving * 1.12,
                    'sidewalk')
    canvas.quad(_strip(-street.left, street.right, NEAR, 900), asphalt, 'road')
    for _ in range(rng.integers(2, 7)):  # patches and stains
        x, z = rng.uniform(-street.left, street.right), rng.uniform(3, 40)
        w, d = rng.uniform(0.4, 2.2), rng.uniform(0.8, 5)
        canvas.quad(_strip(max(x - w, -street.left), min(x + w, street.right), z, z + d),
                    asphalt * rng.uniform(0.75, 1.2), 'road')
    if rng.random() < 0.3:
        rails = rng.uniform(-street.left * 0.6, street.right * 0.2)
        for x in (rails, rails + 1.43):
            canvas.quad(_strip(x, x + 0.09, NEAR, 300), asphalt * 0.5, 'road')
    white = np.full(3, rng.uniform(170, 235))
    middle = (street.right - street.left) / 2
    if rng.random() < 0.8:
        for z in np.arange(rng.uniform(1, 6), 110, 6.0):
            canvas.quad(_strip(middle - 0.07, middle + 0.07, z, z + 2.6), white, 'road')
    if rng.random() < 0.3:  # a crossing
        z = rng.uniform(7, 22)
        for x in np.arange(-street.left + 0.4, street.right - 0.6, 1.0):
            canvas.quad(_strip(x, x + 0.5, z, z + 3), white, 'road')


def _paint_backdrop(canvas: Canvas, rng) -> None:
    """Skyline and woods at the end of the street."""
    hue = np.array([55, 95, 65]) * rng.uniform(0.6, 1.2)
    for x in np.arange(-260, 260, 9.0):
        if rng.random() < 0.75:
            tall = rng.uniform(4, 17)
            canvas.ellipse((x, tall * 0.3, FAR + 60), (rng.uniform(6, 12), tall),
                           hue * rng.uniform(0.8, 1.15), 'vegetation')
    for _ in range(rng.integers(0, 9)):
        x, w, h = rng.uniform(-160, 160), rng.uniform(8, 24), rng.uniform(10, 40)
        canvas.quad(np.array([[x, 0, FAR], [x + w, 0, FAR], [x + w, h, FAR], [x, h, FAR]]),
                    np.full(3, rng.uniform(70, 190)) + rng.uniform(-25, 25, 3), 'building')


def _draw_building(canvas: Canvas, side: int, x: float, z0: float, z1: float, rng) -> None:
    tall = rng.uniform(5, 24)
    colour = np.full(3, rng.uniform(60, 215)) + rng.uniform(-35, 35, 3)
    glass, trim = rng.uniform(20, 130, 3), colour * rng.uniform(0.6, 1.25)
    depth = rng.uniform(8, 14)
    end = np.array([[x, 0, z0], [x + side * depth, 0, z0], [x + side * depth, tall, z0],
                    [x, tall, z0]])
    canvas.quad(end, colour * 0.78, 'building')
    canvas.quad(np.array([[x, 0, z0], [x, 0, z1], [x, tall, z1], [x, tall, z0]]), colour,
                'building')
    storey, pane = rng.uniform(2.7, 3.6), rng.uniform(1.6, 3.2)
    rows, cols = int(tall / storey), max(int((z1 - z0) / pane), 1)
    step = (z1 - z0) / cols
    share_u, share_v = rng.uniform(0.4, 0.75), rng.uniform(0.4, 0.7)
    windows = []
    for r in range(rows):
        y0 = r * storey + storey * 0.28
        for c in range(cols):
            za = z0 + step * (c + (1 - share_u) / 2)
            windows.append(np.array([[x, y0, za], [x, y0, za + step * share_u],
                                     [x, y0 + storey * share_v, za + step * share_u],
                                     [x, y0 + storey * share_v, za]]))
    if windows:
        flat = canvas.camera.project(np.stack(windows))
        canvas.fill(list(flat), glass, 'building', (z0 + z1) / 2)
    for y in (0., tall - 0.5) if rng.random() < 0.6 else ():
        canvas.quad(np.array([[x, y, z0], [x, y, z1], [x, y + 0.5, z1], [x, y + 0.5, z0]]), trim,
                    'building')


def _draw_barrier(canvas: Canvas, kind: str, x: float, z0: float, z1: float, rng) -> None:
    """Wall (solid) or fence (posts and rails; what is seen through it keeps its label)."""
    colour = np.full(3, rng.uniform(50, 190)) + rng.uniform(-25, 25, 3)
    tall = rng.uniform(0.9, 2.4)
    if kind == 'wall':
        canvas.quad(np.array([[x, 0, z0], [x, 0, z1], [x, tall, z1], [x, tall, z0]]), colour,
                    'wall')
        canvas.quad(np.array([[x, tall - 0.12, z0], [x, tall - 0.12, z1], [x, tall, z1],
                              [x, tall, z0]]), colour * 1.2, 'wall')
        for z in np.arange(z0, z1, 2.5):
            canvas.bar((x, 0, z), (x, tall, z), 0.06, colour * 0.8, 'wall')
        return
    for y in (0.15 * tall, 0.55 * tall, tall):
        canvas.quad(np.array([[x, y - 0.05, z0], [x, y - 0.05, z1], [x, y + 0.05, z1],
                              [x, y + 0.05, z0]]), colour, 'fence')
    for z in np.arange(z0, z1, rng.uniform(0.3, 0.8)):
        canvas.bar((x, 0, z), (x, tall, z), 0.07, colour * 0.9, 'fence')


def _plan_sides(street: _Layout, rng) -> list[tuple[float, callable]]:
    """Buildings, walls, fences and hedges along both sides: (depth, draw)."""
    plan = []
    for side in (-1, 1):
        built = rng.random() < 0.82
        setback = rng.uniform(0.2, 4)
        x, z = street.outer(side) + side * setback, rng.uniform(1.5, 9)
        while built and z < FAR:
            length = rng.uniform(6, 22)
            if rng.random() < 0.84:
                shift = x + side * rng.uniform(0, 1.5)
                plan.append((z + length / 2 + 2, lambda c, r, a=shift, b=z, d=z + length, s=side:
                             _draw_building(c, s, a, b, d, r)))
            z += length + (rng.uniform(0, 8) if rng.random() < 0.35 else 0)
        for _ in range(rng.integers(0, 4)):
            kind = 'wall' if rng.random() < 0.45 else 'fence'
            near, length = rng.uniform(2.5, 35), rng.uniform(5, 20)
            at = street.outer(side) + side * rng.uniform(-0.2, min(setback, 0.6))
            plan.append((near + length / 2, lambda c, r, k=kind, a=at, b=near, d=near + length:
                         _draw_barrier(c, k, a, b, d, r)))
    return plan


def _plan_things(street: _Layout, rng) -> list[tuple[float, str, float, float]]:
    """Everything that stands on the ground: (depth, kind, x, yaw)."""
    things = []

    def depth(kind: str) -> float:
        return max(rng.gamma(2.0, 11.0) + 3, reach(kind) + 1.0)

    def put(kind: str, x: float, yaw: float, at: float | None = None) -> None:
        things.append((depth(kind) if at is None else at, kind, x, yaw))

    half_turns = rng.choice([0, np.pi], 64)
    for side in (-1, 1):  # parked rows
        if rng.random() < 0.55:
            z = rng.uniform(4, 14)
            for _ in range(rng.integers(2, 7)):
                put('car', street.edge(side) - side * rng.uniform(1.0, 1.25),
                    half_turns[len(things)] + rng.normal(0, 0.03), z)
                z += rng.uniform(5.2, 9)
    for kind, chance, most in (('car', 0.85, 4), ('truck', 0.3, 1), ('bus', 0.3, 1),
                               ('train', 0.22, 1)):
        for _ in range(rng.integers(1, most + 1) if rng.random() < chance else 0):
            x = rng.uniform(-street.left + 1.4, street.right - 1.4)
            turn = np.pi / 2 if rng.random() < 0.1 and kind == 'car' else 0
            put(kind, x, rng.choice([0, np.pi]) + turn + rng.normal(0, 0.06),
                max(depth(kind), reach(kind) + 3))
    for kind, chance, most in (('person', 0.9, 9), ('rider', 0.5, 3), ('bicycle', 0.4, 3),
                               ('motorcycle', 0.35, 2)):
        for _ in range(rng.integers(1, most + 1) if rng.random() < chance else 0):
            side = rng.choice([-1, 1])
            on_walk = kind in ('person', 'bicycle') and rng.random() < 0.8
            x = rng.uniform(*sorted((street.edge(side), street.outer(side)))) if on_walk else \
                rng.uniform(-street.left + 0.5, street.right - 0.5)
            put(kind, x, rng.uniform(0, 2 * np.pi))
    for kind, most in (('pole', 6), ('traffic light', 4), ('traffic sign', 5), ('tree', 7),
                       ('bush', 5)):
        for _ in range(rng.integers(0, most + 1)):
            side = rng.choice([-1, 1])
            edge, outer = street.edge(side), street.outer(side)
            x = edge + side * rng.uniform(0.3, 0.8) if kind not in ('tree', 'bush') else \
                outer + side * rng.uniform(-0.9, 4)
            put(kind, x, 0.)
    return things


def _develop(canvas: Canvas, light: _Light, rng) -> np.ndarray:
    """Light, uneven illumination, grain and a soft lens."""
    height, width = canvas.codes.shape
    shade = 1 + 0.13 * _cloudy((height, width), rng, 3, 9)[..., None]
    picture = canvas.image.astype(np.float32) * shade * light.tint.astype(np.float32)
    grain = rng.standard_normal((256, 256), np.float32) * light.noise
    coarse = cv2.resize(rng.standard_normal((96, 96), np.float32), (256, 256)) * light.noise
    tiles = (-(-height // 256), -(-width // 256))
    picture += np.tile(grain + coarse, tiles)[:height, :width, None]
    picture = cv2.GaussianBlur(picture, (0, 0), 0.45 + 0.25 * rng.random())
    return np.clip(picture, 0, 255).astype(np.uint8)


def render_scene(seed: int | tuple[int, ...], height: int = 512, width: int = 1024) -> Rendered:
    """Draw the street of a seed.

    Args:
        seed: Any integers; the same seed gives the same bytes, and at another size the
            same street.
        height: Pixels.
        width: Pixels.

    Raises:
        ValueError: a side below 16 pixels.
    """
    if min(height, width) < 16:
        raise ValueError(f'a scene needs at least 16x16 pixels, got {height}x{width}')
    rng = np.random.default_rng(seed)
    light = _light(rng)
    camera = Camera(height, width, rng.uniform(0.95, 1.3), rng.uniform(0.36, 0.5),
                    0.5 + rng.uniform(-0.09, 0.09), rng.uniform(1.25, 1.9))
    canvas = Canvas(camera, light.fog, light.visibility)
    street = _Layout(rng.uniform(2.2, 7), rng.uniform(2.2, 5), tuple(rng.uniform(1.2, 4.5, 2)))
    _paint_sky(canvas, light, rng)
    _paint_backdrop(canvas, rng)
    _paint_ground(canvas, street, rng)
    plan = _plan_sides(street, rng)
    number = 1
    for depth, kind, x, yaw in _plan_things(street, rng):
        instance = number if kind in THINGS else 0
        number += {'rider': 2}.get(kind, 1 if instance else 0)
        plan.append((depth, lambda c, r, k=kind, a=x, b=depth, t=yaw, i=instance:
                     PAINTERS[k](c, a, b, t, r, i)))
    # a stream of its own for each thing: what one draws cannot change the next
    streams = rng.spawn(len(plan))
    for index in sorted(range(len(plan)), key=lambda i: -plan[i][0]):
        plan[index][1](canvas, streams[index])
    return Rendered(_develop(canvas, light, rng), (canvas.codes % 256).astype(np.uint8),
                    canvas.codes // 256)


def render_object(kind: str, seed: int | tuple[int, ...], size: int = 224) -> np.ndarray:
    """Draw one thing before a random background, (size, size, 3) uint8, BGR.

    Args:
        kind: One of ``classes.OBJECTS``.
        seed: Any integers.
        size: Pixels.
    """
    rng = np.random.default_rng(seed)
    light = _light(rng)
    spread = {'bus': 15, 'train': 20, 'truck': 11, 'car': 7, 'tree': 11,
              'traffic light': 6.5, 'traffic sign': 5.5}.get(kind, 3.4)
    camera = Camera(size, size, rng.uniform(1.0, 1.4), rng.uniform(0.35, 0.6),
                    rng.uniform(0.45, 0.55), rng.uniform(1.1, 2.2))
    canvas = Canvas(camera, light.fog, light.visibility)
    street = _Layout(rng.uniform(2, 12), rng.uniform(2, 12), (3., 3.))
    _paint_sky(canvas, light, rng)
    _paint_backdrop(canvas, rng)
    _paint_ground(canvas, street, rng)
    for side in (-1, 1):
        if rng.random() < 0.5:
            _draw_building(canvas, side, side * rng.uniform(4, 9), spread * 1.4, spread * 3, rng)
    depth = max(spread * rng.uniform(0.85, 1.5), reach(kind) + 1)
    PAINTERS[kind](canvas, rng.uniform(-0.1, 0.1) * depth, depth, rng.uniform(0, 2 * np.pi), rng, 1)
    return _develop(canvas, light, rng)
