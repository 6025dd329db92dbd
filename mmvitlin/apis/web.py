"""A page in the browser: one image, two networks, side by side."""
from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

import cv2
import numpy as np

from mmvitlin.apis.seg_inferencer import SegInferencer
from mmvitlin.utils.disturbance import Watch, computing_threads, in_words
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.machine import peak_memory, undisturbed
from mmvitlin.utils.optional import OptionalModule
from mmvitlin.visualization.side_by_side import token_map

mpl = OptionalModule('matplotlib', 'app')
_WIDEST = 1280  # pixels that a picture is shown with
_MARK = (213, 94, 0)


class SideBySide:
    """The functions behind the page, without gradio.

    Args:
        networks: Name → network.

    Raises:
        ConfigError: no network.
    """

    def __init__(self, networks: dict[str, SegInferencer]):
        if not networks:
            raise ConfigError('give at least one network')
        self.networks = networks

    @staticmethod
    def resized(image: np.ndarray, width: int) -> np.ndarray:
        """The image, (H, W, 3) RGB, at a width in pixels."""
        height = max(round(image.shape[0] * width / image.shape[1]), 1)
        interpolation = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
        return cv2.resize(image, (int(width), height), interpolation=interpolation)

    def segment(self, name: str, image: np.ndarray, width: int) -> tuple[np.ndarray, dict]:
        """The image with a network's classes over it, and what that took.

        Args:
            name: Of the network.
            image: (H, W, 3) RGB.
            width: Pixels of what the network sees.

        Returns:
            (H, W, 3), at most 1,280 wide, and dict(ms, of one run after others that warm up;
            peak_mib, above the loaded network, None where the system does not report it; size, what
            the network saw; classes, name → share of the image in percent, largest first; load,
            see :class:`mmvitlin.utils.disturbance.Load`).
        """
        infer = self.networks[name]
        image, data = infer.read(self.resized(image, width))
        run, peak = partial(infer.predict, data), None
        run()  # warm-up: libraries load their code
        with suppress(OSError):  # no /proc outside of Linux
            peak = peak_memory(run, infer.device)
        with Watch(computing_threads(infer.device)) as watch:
            start = time.perf_counter()
            result = infer.result(name, image=image, labels=run(), classes=infer.classes,
                                  palette=infer.palette)
            seconds = time.perf_counter() - start
        counts = np.bincount(result.labels.ravel(), minlength=len(infer.classes))
        shares = {str(infer.classes[n]): 100 * counts[n] / counts.sum()
                  for n in np.argsort(-counts) if counts[n]}
        height, width = data['inputs'].shape[-2:]
        return self.shown(result.overlay(0.6)), dict(
            ms=1e3 * seconds, peak_mib=peak, size=f'{height}×{width}', classes=shares,
            load=watch.load.as_dict())

    def similarity(self, name: str, image: np.ndarray, width: int, at: tuple[float, float]
                   ) -> np.ndarray:
        """Cosine similarity of the last features at a place to those of all others, as a picture.

        Args:
            name: Of the network.
            image: (H, W, 3) RGB.
            width: Pixels of what the network sees.
            at: (y, x) as shares of height and width.
        """
        infer = self.networks[name]
        image, data = infer.read(self.resized(image, width))
        values = token_map(infer, data, at).numpy()
        colours = (255 * mpl.colormaps['RdBu_r']((values + 1) / 2)[..., :3]).astype(np.uint8)
        image = self.shown(image)
        height, width = image.shape[:2]
        picture = cv2.resize(colours, (width, height), interpolation=cv2.INTER_NEAREST)
        place = int(at[1] * (width - 1)), int(at[0] * (height - 1))
        cv2.circle(picture, place, max(width // 80, 3), (255, 255, 255), -1)
        cv2.circle(picture, place, max(width // 110, 2), _MARK, -1)
        return picture

    @classmethod
    def shown(cls, image: np.ndarray) -> np.ndarray:
        """Not wider than the page."""
        return cls.resized(image, _WIDEST) if image.shape[1] > _WIDEST else image


def table(rows: dict[str, dict]) -> str:
    """Time and memory of several networks, as Markdown."""
    lines = ['| | sees | time | memory | largest classes |', '| --- | --- | --- | --- | --- |']
    for name, row in rows.items():
        peak = '–' if row['peak_mib'] is None else f"{row['peak_mib']:.0f} MiB"
        some = ', '.join(f'{n} {share:.0f}%' for n, share in list(row['classes'].items())[:4])
        lines.append(f"| **{name}** | {row['size']} | {row['ms']:.0f} ms | {peak} | {some} |")
    if busy := [row for row in rows.values() if not undisturbed([row])]:
        lines += ['', f"Times are not compared ({in_words(busy[0]['load'])})."]
    elif len(rows) == 2:
        (a, first), (b, second) = rows.items()
        faster, slower = (b, a) if second['ms'] < first['ms'] else (a, b)
        ratio = rows[slower]['ms'] / rows[faster]['ms']
        lines += ['', f'{faster} takes 1/{ratio:.1f} of the time of {slower} (one run of each).']
    return '\n'.join(lines)


def build_page(pair: SideBySide, widths: tuple[int, int] = (256, 2048), start: int = 512):
    """The page as gradio ``Blocks``.

    Args:
        pair: The networks.
        widths: Least and greatest width to choose from, in pixels.
        start: Chosen first.

    Raises:
        ConfigError: gradio is not installed.
    """
    try:
        import gradio as gr
    except ImportError as error:
        raise ConfigError("the page is made with gradio: pip install 'mmvitlin[app]'") from error
    names = list(pair.networks)

    def segment(image, left, right, width):
        if image is None:
            raise gr.Error('drop an image first')
        rows, pictures = {}, []
        for name in (left, right):
            try:
                picture, rows[name] = pair.segment(name, image, width)
            except Exception as error:  # too large, for example: show it
                raise gr.Error(f'{name}: {error}') from error
            pictures.append(picture)
        return *pictures, table(rows)

    def look(image, left, right, width, event):
        x, y = event.index
        at = (y / max(image.shape[0] - 1, 1), x / max(image.shape[1] - 1, 1))
        at = tuple(min(max(share, 0.), 1.) for share in at)
        try:
            return [pair.similarity(name, image, width, at) for name in (left, right)]
        except TypeError as error:  # a network without tokens
            raise gr.Error(str(error)) from error

    look.__annotations__['event'] = gr.SelectData  # gradio goes by it, and reads no strings

    with gr.Blocks(title='mmvitlin') as page:
        gr.Markdown('## Two networks, one image\nDrop an image and segment it. Click on it: the '
                    'lower pictures show which places look alike to each network (red: the same, '
                    'blue: the opposite).')
        with gr.Row():
            image = gr.Image(type='numpy', label='image', image_mode='RGB', elem_id='image')
            with gr.Column():
                left = gr.Dropdown(names, value=names[0], label='left')
                right = gr.Dropdown(names, value=names[-1], label='right')
                width = gr.Slider(*widths, value=start, step=32, label='width in pixels')
                button = gr.Button('Segment', variant='primary', elem_id='segment')
                message = gr.Markdown(elem_id='message')
        with gr.Row():
            pictures = [gr.Image(label=side, interactive=False, elem_id=f'{side}-classes')
                        for side in ('left', 'right')]
        with gr.Row():
            maps = [gr.Image(label=f'{side}, similarity to the place clicked', interactive=False,
                             elem_id=f'{side}-similarity') for side in ('left', 'right')]
        inputs = [image, left, right, width]
        button.click(segment, inputs, [*pictures, message])
        image.select(look, inputs, maps)
    return page
