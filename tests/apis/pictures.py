"""An image to infer from."""
import numpy as np


def picture(height=60, width=100, seed=0):
    yy, xx = np.mgrid[:height, :width]
    noise = np.random.RandomState(seed).randint(0, 60, (height, width, 3))
    return (np.stack([xx % 200, yy * 2 % 200, (xx + yy) % 200], -1) + noise).astype(np.uint8)
