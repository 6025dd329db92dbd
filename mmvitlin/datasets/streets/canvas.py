"""A pinhole camera and a canvas that draws picture and labels with the same polygons."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmvitlin.datasets.streets.classes import TRAIN_ID

NEAR = 0.7
_SHIFT = 4  # sub-pixel bits of OpenCV's polygon corners
_LIMIT = 30000  # corners far outside are clipped; OpenCV's fixed point overflows


@dataclass
class Camera:
    """Pinhole camera above the ground.

    Attributes:
        height: Image height in pixels.
        width: Image width in pixels.
        focal: Focal length over image height.
        horizon: Row of the horizon over image height.
        centre: Column of the vanishing point over image width.
        lift: Metres above the ground.
    """
    height: int
    width: int
    focal: float = 1.1
    horizon: float = 0.44
    centre: float = 0.5
    lift: float = 1.5

    def project(self, points: np.ndarray) -> np.ndarray:
        """(…, 3) points, X right, Y up, Z ahead, in metres, to (…, 2) pixels."""
        depth = np.maximum(points[..., 2], NEAR)
        scale = self.focal * self.height / depth
        x = self.centre * self.width + scale * points[..., 0]
        y = self.horizon * self.height + scale * (self.lift - points[..., 1])
        return np.stack([x, y], -1)

    def pixels(self, metres: float, depth: float) -> float:
        """Length in pixels of a length seen at a depth."""
        return metres * self.focal * self.height / max(depth, NEAR)


class Canvas:
    """Picture (H, W, 3) uint8 BGR and map (H, W) int32 of ``instance · 256 + class``.

    Colours fade into ``fog`` with distance.
    """

    def __init__(self, camera: Camera, fog: np.ndarray, visibility: float):
        self.camera, self.fog, self.visibility = camera, np.asarray(fog, float), visibility
        self.image = np.zeros((camera.height, camera.width, 3), np.uint8)
        self.codes = np.zeros((camera.height, camera.width), np.int32)

    def _colour(self, colour, depth: float) -> tuple[float, ...]:
        clear = np.exp(-depth / self.visibility)
        return tuple(np.clip(np.asarray(colour, float) * clear + self.fog * (1 - clear), 0, 255))

    def fill(self, polygons, colour, cls: str, depth: float, instance: int = 0) -> None:
        """Fill polygons, each (P, 2) in pixels."""
        corners = [
            np.round(np.clip(p, -_LIMIT, _LIMIT) * 2**_SHIFT).astype(np.int32) for p in polygons
        ]
        if not corners:
            return
        colour = self._colour(colour, depth)
        code = instance * 256 + TRAIN_ID[cls]
        # one by one: a single call would leave holes where polygons overlap
        for polygon in corners:
            cv2.fillPoly(self.image, [polygon], colour, shift=_SHIFT)
            cv2.fillPoly(self.codes, [polygon], code, shift=_SHIFT)

    def quad(self, corners: np.ndarray, colour, cls: str, instance: int = 0) -> None:
        """Fill a planar polygon given in metres, (P, 3)."""
        corners = np.asarray(corners, float)
        self.fill([self.camera.project(corners)], colour, cls, float(corners[:, 2].mean()),
                  instance)

    def ellipse(self, centre, radii, colour, cls: str, instance: int = 0, facing: float = 0.,
                ring: float = 0.) -> None:
        """Upright ellipse at ``centre`` (X, Y, Z) with radii (across, up) in metres.

        Args:
            facing: Turn around the vertical axis; 0 faces the camera.
            ring: Inner radius over outer; above 0 only a ring is drawn.
        """
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        across = np.stack([np.cos(turn) * np.cos(facing), np.sin(turn),
                           np.cos(turn) * np.sin(facing)], -1)
        size = np.array([radii[0], radii[1], radii[0]])
        outer = np.asarray(centre) + across * size
        if not ring:
            self.quad(outer, colour, cls, instance)
            return
        inner = np.asarray(centre) + across * size * ring
        for i in range(len(turn)):
            j = (i + 1) % len(turn)
            self.quad(np.stack([outer[i], outer[j], inner[j], inner[i]]), colour, cls, instance)

    def bar(self, start, end, thickness: float, colour, cls: str, instance: int = 0) -> None:
        """Straight bar between two points in metres, without a minimum width: it may vanish when it
        is thinner than a pixel."""
        ends = np.array([start, end], float)
        flat = self.camera.project(ends)
        along = flat[1] - flat[0]
        length = np.hypot(*along)
        if length < 1e-6:
            return
        normal = np.array([-along[1], along[0]]) / length
        half = [self.camera.pixels(thickness, z) / 2 for z in ends[:, 2]]
        polygon = np.stack([flat[0] + normal * half[0], flat[1] + normal * half[1],
                            flat[1] - normal * half[1], flat[0] - normal * half[0]])
        self.fill([polygon], colour, cls, float(ends[:, 2].mean()), instance)

    def shade_ground(self, corners: np.ndarray, strength: float) -> None:
        """Darken a ground polygon (P, 3) in the picture; labels stay."""
        flat = self.camera.project(np.asarray(corners, float))
        low = np.maximum(np.floor(flat.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(flat.max(0)).astype(int) + 1,
                          [self.camera.width, self.camera.height])
        if (high <= low).any():
            return
        window = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(window, [np.round((flat - low) * 2**_SHIFT).astype(np.int32)], 1, shift=_SHIFT)
        part = self.image[low[1]:high[1], low[0]:high[0]]
        part[window > 0] = (part[window > 0] * (1 - strength)).astype(np.uint8)
