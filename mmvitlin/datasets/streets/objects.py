"""Painters of single things. Each draws at a place on the ground, in metres."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmvitlin.datasets.streets.canvas import NEAR, Canvas

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
