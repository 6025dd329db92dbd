"""Painters of vehicles. Each draws at a place on the ground, in metres."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmvitlin.datasets.streets.canvas import Canvas

DARK = (32, 28, 26)


@dataclass
class Box:
    """A cuboid on the ground: centre (x, z), base height, size, turn around the vertical."""
    x: float
    z: float
    width: float
    height: float
    length: float
    base: float = 0.
    yaw: float = 0.

    def point(self, u: float, v: float, w: float) -> np.ndarray:
        """Corner coordinates in [-1, 1] × [0, 1] × [-1, 1] (across, up, along) to metres."""
        across, along = u * self.width / 2, w * self.length / 2
        sin, cos = np.sin(self.yaw), np.cos(self.yaw)
        return np.array([self.x + across * cos + along * sin, self.base + v * self.height,
                         self.z - across * sin + along * cos])

    def faces(self) -> list[tuple[str, callable, float]]:
        """Faces that the camera sees: (name, (u, v) → point, brightness), far to near.

        u and v run over [0, 1]² of the face.
        """
        sides = {
            'rear': (lambda u, v: self.point(2 * u - 1, v, -1), (0, 0, -1)),
            'front': (lambda u, v: self.point(1 - 2 * u, v, 1), (0, 0, 1)),
            'left': (lambda u, v: self.point(-1, v, 1 - 2 * u), (-1, 0, 0)),
            'right': (lambda u, v: self.point(1, v, 2 * u - 1), (1, 0, 0)),
        }
        sin, cos = np.sin(self.yaw), np.cos(self.yaw)
        seen = []
        for name, (face, (a, _, b)) in sides.items():
            normal = np.array([a * cos + b * sin, -a * sin + b * cos])
            middle = face(0.5, 0.5)
            if normal @ middle[[0, 2]] < 0:
                light = 0.72 + 0.28 * (0.5 - 0.5 * normal[1] + 0.3 * normal[0])
                seen.append((name, face, light, middle[2]))
        seen.sort(key=lambda item: -item[3])
        return [item[:3] for item in seen]

    @property
    def nearest(self) -> float:
        """Smallest depth of a corner."""
        return min(self.point(u, 0, w)[2] for u in (-1, 1) for w in (-1, 1))


def _patch(face, u0: float, v0: float, u1: float, v1: float) -> np.ndarray:
    return np.stack([face(u0, v0), face(u1, v0), face(u1, v1), face(u0, v1)])


def _paint_box(canvas: Canvas, box: Box, colour, cls: str, instance: int, lift: float) -> None:
    colour = np.asarray(colour, float)
    if box.base + box.height < lift:  # the roof shows
        roof = np.stack([box.point(-1, 1, -1), box.point(1, 1, -1), box.point(1, 1, 1),
                         box.point(-1, 1, 1)])
        canvas.quad(roof, np.minimum(colour * 1.15, 255), cls, instance)
    for _, face, light in box.faces():
        canvas.quad(_patch(face, 0, 0, 1, 1), colour * light, cls, instance)


def _ground_shadow(canvas: Canvas, box: Box, strength: float) -> None:
    grown = Box(box.x, box.z, box.width * 1.15, 0, box.length * 1.08, 0, box.yaw)
    canvas.shade_ground(np.stack([grown.point(u, 0, w)
                                  for u, w in ((-1, -1), (1, -1), (1, 1), (-1, 1))]), strength)


def _wheels(canvas: Canvas, box: Box, radius: float, cls: str, instance: int,
            at=(0.2, 0.8)) -> None:
    for name, face, _ in box.faces():
        if name in ('left', 'right'):
            for u in at:
                hub = face(u, 0)
                hub[1] = radius
                canvas.ellipse(hub, (radius, radius), DARK, cls, instance,
                               facing=np.pi / 2 - box.yaw)
                canvas.ellipse(hub, (radius * 0.5, radius * 0.5), (120, 120, 120), cls, instance,
                               facing=np.pi / 2 - box.yaw)
        else:
            for u in (0.08, 0.78):
                low = _patch(face, u, 0, u + 0.14, 0.3)
                low[:, 1] = np.where(low[:, 1] > box.base, box.base, 0)
                canvas.quad(low, DARK, cls, instance)


def _lights(canvas: Canvas, box: Box, rng, cls: str, instance: int, v=(0.45, 0.65)) -> None:
    for name, face, _ in box.faces():
        if name in ('rear', 'front'):
            colour = (40, 40, 200) if name == 'rear' else (200, 240, 250)
            for u in (0.04, 0.84):
                canvas.quad(_patch(face, u, v[0], u + 0.12, v[1]), colour, cls, instance)
            canvas.quad(_patch(face, 0.38, 0.15, 0.62, 0.3), (210, 215, 215), cls, instance)


def _paint(rng) -> np.ndarray:
    """A vehicle's colour: anything, greys more often."""
    if rng.random() < 0.5:
        return np.full(3, rng.uniform(25, 235)) + rng.uniform(-8, 8, 3)
    return rng.uniform(20, 235, 3)


def draw_car(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Saloon, estate or van."""
    colour, kind = _paint(rng), rng.random()
    length, width = rng.uniform(3.7, 4.9), rng.uniform(1.65, 1.95)
    body = Box(x, z, width, rng.uniform(0.6, 0.75), length, 0.28, yaw)
    _ground_shadow(canvas, Box(x, z, width, 0, length, 0, yaw), 0.45)
    _paint_box(canvas, body, colour, 'car', instance, canvas.camera.lift)
    _wheels(canvas, body, rng.uniform(0.29, 0.35), 'car', instance)
    _lights(canvas, body, rng, 'car', instance)
    part = 0.5 if kind < 0.5 else (0.68 if kind < 0.85 else 0.8)
    shift = -0.06 * length if kind < 0.5 else -0.12 * length
    tall = rng.uniform(0.5, 0.65) * (1.5 if kind >= 0.85 else 1)
    cabin = Box(x + shift * np.sin(yaw), z + shift * np.cos(yaw), width * 0.9, tall,
                length * part, body.base + body.height, yaw)
    _paint_box(canvas, cabin, colour * 0.95, 'car', instance, canvas.camera.lift)
    glass = rng.uniform(25, 95, 3)
    for _, face, light in cabin.faces():
        canvas.quad(_patch(face, 0.08, 0.12, 0.92, 0.82), glass * light, 'car', instance)


def draw_bus(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """City bus with a band of windows."""
    _window_vehicle(canvas, Box(x, z, 2.5, rng.uniform(2.7, 3.2), rng.uniform(9, 12), 0.3, yaw),
                    'bus', rng, instance, wheels=(0.15, 0.75))


def draw_train(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Tram of several cars with a pantograph, no wheels to be seen."""
    length = rng.uniform(16, 30)
    box = Box(x, z, 2.4, rng.uniform(3.1, 3.5), length, 0.15, yaw)
    _window_vehicle(canvas, box, 'train', rng, instance, wheels=())
    low, high = box.point(0, 1, -0.4), box.point(0, 1.25, -0.25)
    canvas.bar(low, high, 0.1, DARK, 'train', instance)
    canvas.bar(box.point(-0.5, 1.25, -0.25), box.point(0.5, 1.25, -0.25), 0.08, DARK, 'train',
               instance)


def _window_vehicle(canvas: Canvas, box: Box, cls: str, rng, instance: int, wheels) -> None:
    colour = _paint(rng)
    band, glass = colour * rng.uniform(0.4, 1.5), rng.uniform(25, 90, 3)
    _ground_shadow(canvas, Box(box.x, box.z, box.width, 0, box.length, 0, box.yaw), 0.45)
    _paint_box(canvas, box, colour, cls, instance, canvas.camera.lift)
    for name, face, light in box.faces():
        canvas.quad(_patch(face, 0, 0.1, 1, 0.22), np.clip(band, 0, 255) * light, cls, instance)
        if name in ('rear', 'front'):
            canvas.quad(_patch(face, 0.1, 0.42, 0.9, 0.82), glass * light, cls, instance)
            continue
        count = max(int(box.length / 1.6), 3)
        for i in range(count):
            canvas.quad(_patch(face, (i + 0.1) / count, 0.48, (i + 0.9) / count, 0.85),
                        glass * light, cls, instance)
        if cls == 'train':  # joints between the cars
            for u in (0.33, 0.67):
                canvas.quad(_patch(face, u - 0.008, 0, u + 0.008, 1), DARK, cls, instance)
    if wheels:
        _wheels(canvas, box, 0.45, cls, instance, at=wheels)
    _lights(canvas, box, rng, cls, instance, v=(0.1, 0.2))


def draw_truck(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Lorry: a cab and a higher load behind it."""
    colour, load = _paint(rng), _paint(rng)
    length = rng.uniform(6, 10)
    ahead = np.array([np.sin(yaw), np.cos(yaw)])
    cab = Box(x + ahead[0] * length * 0.4, z + ahead[1] * length * 0.4, 2.3,
              rng.uniform(1.9, 2.3), length * 0.2, 0.45, yaw)
    cargo = Box(x - ahead[0] * length * 0.13, z - ahead[1] * length * 0.13, 2.5,
                rng.uniform(2.1, 2.9), length * 0.74, 0.8, yaw)
    frame = Box(x, z, 2.1, 0.35, length, 0.45, yaw)
    _ground_shadow(canvas, frame, 0.45)
    parts = sorted([(cab, colour), (cargo, load)], key=lambda part: -part[0].z)
    _paint_box(canvas, frame, DARK, 'truck', instance, canvas.camera.lift)
    for box, paint in parts:
        _paint_box(canvas, box, paint, 'truck', instance, canvas.camera.lift)
        for name, face, light in box.faces():
            if box is cab:
                v0 = 0.5
                canvas.quad(_patch(face, 0.12, v0, 0.88, 0.88), rng.uniform(25, 80, 3) * light,
                            'truck', instance)
            elif name == 'rear':
                canvas.quad(_patch(face, 0.485, 0.05, 0.515, 0.95), load * 0.6, 'truck', instance)
    _wheels(canvas, frame, 0.48, 'truck', instance, at=(0.12, 0.24, 0.86))


def _two_wheels(canvas: Canvas, x, z, yaw, radius, base) -> tuple[np.ndarray, np.ndarray]:
    ahead = np.array([np.sin(yaw), 0, np.cos(yaw)]) * base / 2
    centre = np.array([x, radius, z])
    return centre - ahead, centre + ahead


def draw_bicycle(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Two thin wheels and a frame of tubes."""
    radius, paint = rng.uniform(0.31, 0.36), rng.uniform(10, 220, 3)
    back, front = _two_wheels(canvas, x, z, yaw, radius, 1.05)
    for hub in (back, front):
        canvas.ellipse(hub, (radius, radius), DARK, 'bicycle', instance, np.pi / 2 - yaw, ring=0.84)
    pedal = (back + front) / 2
    seat, steer = pedal * 0.75 + back * 0.25, front.copy()
    seat[1], steer[1] = 0.85, 0.95
    for a, b in ((back, pedal), (pedal, seat), (seat, back), (seat, steer), (pedal, steer),
                 (steer, front)):
        canvas.bar(a, b, 0.05, paint, 'bicycle', instance)
    canvas.bar(steer + [-0.25, 0.08, 0], steer + [0.25, 0.08, 0], 0.05, DARK, 'bicycle', instance)
    canvas.bar(seat + [-0.1, 0.05, 0], seat + [0.1, 0.05, 0], 0.09, DARK, 'bicycle', instance)


def draw_motorcycle(canvas: Canvas, x: float, z: float, yaw: float, rng, instance: int = 0) -> None:
    """Two thick wheels, an engine block, a tank and a seat."""
    radius, paint = rng.uniform(0.28, 0.33), _paint(rng)
    back, front = _two_wheels(canvas, x, z, yaw, radius, 1.35)
    _ground_shadow(canvas, Box(x, z, 0.6, 0, 1.8, 0, yaw), 0.35)
    for hub in (back, front):
        canvas.ellipse(hub, (radius, radius), DARK, 'motorcycle', instance, np.pi / 2 - yaw,
                       ring=0.5)
    block = Box(x, z, 0.4, 0.42, 0.9, 0.3, yaw)
    _paint_box(canvas, block, (70, 70, 75), 'motorcycle', instance, canvas.camera.lift)
    _paint_box(canvas, Box(x, z, 0.42, 0.28, 1.1, 0.68, yaw), paint, 'motorcycle', instance,
               canvas.camera.lift)
    steer = front + [0, 0.68, 0]
    canvas.bar(front, steer, 0.12, (90, 90, 90), 'motorcycle', instance)
    canvas.bar(steer + [-0.38, 0, 0], steer + [0.38, 0, 0], 0.07, DARK, 'motorcycle', instance)
