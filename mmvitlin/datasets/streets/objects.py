"""Painters of people, plants and posts, and all painters by name.

Each draws at a place on the ground, in metres.
"""
from __future__ import annotations

import numpy as np

from mmvitlin.datasets.streets.canvas import NEAR, Canvas
from mmvitlin.datasets.streets.vehicles import (
    draw_bicycle,
    draw_bus,
    draw_car,
    draw_motorcycle,
    draw_train,
    draw_truck,
)


def draw_person(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0,
                cls: str = 'person', seat: float = 0.) -> None:
    """Standing, walking or (with ``seat`` > 0) sitting figure."""
    tall = rng.uniform(1.5, 1.92) * (0.65 if rng.random() < 0.12 and not seat else 1)
    shirt, trousers = rng.uniform(15, 235, 3), rng.uniform(15, 180, 3)
    skin = np.array([110, 140, 190]) * rng.uniform(0.4, 1.15)
    hair = rng.uniform(15, 110, 3)
    stride = rng.uniform(-0.28, 0.28) * (not seat)
    lean = 0.25 * np.sin(yaw) if seat else 0.
    hip = seat or 0.48 * tall
    top = hip + 0.37 * tall
    if not seat:
        canvas.shade_ground(np.array([[x - 0.3, 0, z - 0.1], [x + 0.3, 0, z - 0.1],
                                      [x + 0.3, 0, z + 0.25], [x - 0.3, 0, z + 0.25]]), 0.35)
        for foot in (stride, -stride):
            canvas.bar((x, hip, z), (x + foot, 0, z), 0.15, trousers, cls, instance)
    else:
        knee = (x + 0.35 * np.sin(yaw), hip - 0.15, z)
        for shift in (-0.1, 0.1):
            canvas.bar((x + shift, hip, z), (knee[0] + shift, knee[1], z), 0.15, trousers, cls,
                       instance)
            canvas.bar((knee[0] + shift, knee[1], z), (x + shift, hip - 0.5, z), 0.13, trousers,
                       cls, instance)
    wide = rng.uniform(0.17, 0.24)
    canvas.quad(np.array([[x - wide * 0.8, hip - 0.05, z], [x + wide * 0.8, hip - 0.05, z],
                          [x + wide + lean, top, z], [x - wide + lean, top, z]]), shirt, cls,
                instance)
    swing = rng.uniform(-0.25, 0.25)
    for side in (-1, 1):
        hand = (x + side * (wide + 0.06) + (0.4 * np.sin(yaw) if seat else side * abs(swing) * 0.4),
                hip + (0.1 if seat else 0.02), z)
        canvas.bar((x + side * wide + lean, top - 0.05, z), hand, 0.1, shirt * 0.9, cls, instance)
    head = 0.075 * tall
    canvas.ellipse((x + lean, top + head * 1.15, z), (head * 0.85, head * 1.15), skin, cls,
                   instance)
    canvas.ellipse((x + lean, top + head * 1.75, z), (head * 0.85, head * 0.7), hair, cls, instance)
    if not seat and rng.random() < 0.3:  # a bag
        canvas.quad(np.array([[x + wide, hip - 0.2, z], [x + wide + 0.22, hip - 0.2, z],
                              [x + wide + 0.22, hip + 0.15, z], [x + wide, hip + 0.15, z]]),
                    rng.uniform(10, 200, 3), cls, instance)


def draw_rider(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0,
               motor: bool = False) -> None:
    """A rider (``instance``) on a bicycle or motorcycle (``instance + 1``)."""
    vehicle = draw_motorcycle if motor else draw_bicycle
    vehicle(canvas, x, z, yaw, rng, instance + 1 if instance else 0)
    draw_person(canvas, x, z - 0.02, yaw, rng, instance, cls='rider', seat=0.92)


def draw_tree(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Trunk and a crown of leafy blobs; green, autumn or bare-ish."""
    tall = rng.uniform(3.5, 9)
    spread = tall * rng.uniform(0.18, 0.32)
    hue = np.array(((45, 95, 55), (40, 120, 70), (35, 95, 150), (60, 100, 100))[rng.integers(4)],
                   float) * rng.uniform(0.6, 1.3)
    canvas.bar((x, 0, z), (x, tall * 0.6, z), 0.05 * tall, np.array([45, 60, 75]) *
               rng.uniform(0.6, 1.3), 'vegetation')
    _leaves(canvas, (x, tall * 0.7, z), (spread, tall * 0.3), hue, rng, 34)


def _leaves(canvas: Canvas, centre, radii, hue, rng, count: int) -> None:
    offsets = rng.normal(0, 0.5, (count, 2)).clip(-1, 1)
    order = np.argsort(-offsets[:, 1])[::-1]
    sizes, shades = rng.uniform(0.2, 0.45, count), rng.uniform(0.65, 1.3, count)
    for i in order:
        spot = (centre[0] + offsets[i, 0] * radii[0], centre[1] + offsets[i, 1] * radii[1],
                centre[2])
        light = shades[i] * (0.85 + 0.25 * offsets[i, 1])
        canvas.ellipse(spot, (radii[0] * sizes[i], radii[1] * sizes[i]),
                       np.clip(hue * light, 0, 255), 'vegetation')


def draw_bush(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Low hedge or bush."""
    hue = np.array([45, 100, 60]) * rng.uniform(0.5, 1.3, 3)
    size = rng.uniform(0.5, 1.4)
    _leaves(canvas, (x, size * 0.45, z), (size * 1.1, size * 0.5), hue, rng, 16)


def draw_pole(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Lamp post: a thin mast, often with an arm over the road."""
    tall, grey = rng.uniform(4, 9), np.full(3, rng.uniform(50, 170)) + rng.uniform(-15, 15, 3)
    canvas.bar((x, 0, z), (x, tall, z), rng.uniform(0.1, 0.2), grey, 'pole')
    if rng.random() < 0.6:
        reach = -np.sign(x or 1) * rng.uniform(0.8, 2.2)
        canvas.bar((x, tall, z), (x + reach, tall + 0.15, z), 0.09, grey, 'pole')
        canvas.bar((x + reach, tall + 0.15, z), (x + reach * 1.3, tall + 0.13, z), 0.2,
                   (190, 220, 230), 'pole')


def draw_traffic_light(canvas: Canvas, x: float, z: float, yaw: float, rng,
                       instance: int = 0) -> None:
    """Dark housing with three lamps, one lit, on a pole."""
    low, grey = rng.uniform(2.2, 3.4), np.full(3, rng.uniform(50, 140))
    canvas.bar((x, 0, z), (x, low + 0.4, z), 0.12, grey, 'pole')
    housing = np.array([[x - 0.17, low, z - 0.1], [x + 0.17, low, z - 0.1],
                        [x + 0.17, low + 0.95, z - 0.1], [x - 0.17, low + 0.95, z - 0.1]])
    canvas.quad(housing, rng.uniform(15, 45, 3), 'traffic light')
    lit = rng.integers(3)
    for i, colour in enumerate(((60, 200, 80), (40, 200, 240), (40, 40, 235))):
        glow = np.array(colour) * (1.0 if i == lit else 0.22)
        canvas.ellipse((x, low + 0.18 + 0.3 * i, z - 0.11), (0.11, 0.11), glow, 'traffic light')


def draw_traffic_sign(canvas: Canvas, x: float, z: float, yaw: float, rng,
                      instance: int = 0) -> None:
    """Disc, triangle, square or octagon with a rim, on a pole."""
    middle, size = rng.uniform(2.0, 3.0), rng.uniform(0.28, 0.45)
    canvas.bar((x, 0, z), (x, middle, z), 0.07, np.full(3, rng.uniform(90, 160)), 'pole')
    corners, start = ((3, np.pi / 2), (4, np.pi / 4), (8, np.pi / 8), (24, 0.))[rng.integers(4)]
    rim = ((40, 40, 200), (190, 90, 30), (40, 200, 235), (225, 225, 225))[rng.integers(4)]
    turn = start + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    for scale, colour in ((1.0, np.array(rim) * rng.uniform(0.7, 1.1)),
                          (0.72, rng.uniform(160, 245, 3))):
        outline = np.stack([x + np.cos(turn) * size * scale, middle + np.sin(turn) * size * scale,
                            np.full(corners, z - 0.05)], -1)
        canvas.quad(outline, colour, 'traffic sign')
    canvas.bar((x - size * 0.3, middle, z - 0.06), (x + size * 0.3, middle, z - 0.06), size * 0.2,
               rng.uniform(10, 90, 3), 'traffic sign')


PAINTERS = {
    'bicycle': draw_bicycle, 'bus': draw_bus, 'car': draw_car, 'motorcycle': draw_motorcycle,
    'person': draw_person, 'rider': draw_rider, 'traffic light': draw_traffic_light,
    'traffic sign': draw_traffic_sign, 'train': draw_train, 'tree': draw_tree,
    'truck': draw_truck, 'pole': draw_pole, 'bush': draw_bush
}
# half the length along the road that must lie beyond the near plane
REACH = {'car': 2.6, 'bus': 6.2, 'train': 15.2, 'truck': 5.2}


def reach(kind: str) -> float:
    """Metres from the centre to the nearest point of a thing."""
    return REACH.get(kind, 0.9) + NEAR
