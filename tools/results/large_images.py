"""The project's README on large images: memory, resolution, whole images against windows."""
import statistics

from accuracy_tables import camvid_cells
from commands import commands
from scores import over
from speed_tables import THIN

MODES = dict(whole='whole', slide='in windows')


def large_images(memory: dict, curve: dict | None, camvid: dict | None) -> list[str]:
    """Memory of labels; what resolution buys; whole images against windows."""
    lines = ['### Large images', '']
    lines += [f"- {name}: from the head's scores to labels {row['ours']['peak_mib']:,.0f} MiB and "
             f"{row['ours']['seconds']:.1f} s, {row['mmseg']['peak_mib']:,.0f} MiB and "
             f"{row['mmseg']['seconds']:.1f} s in mmseg; the whole call, its head and a stand-in "
             f"backbone included, peaks at {row['ours']['total_mib']:,.0f} and "
             f"{row['mmseg']['total_mib']:,.0f} MiB."
             for name, row in memory['rows'].items() if 'memory_ratio' in row]
    if curve:
        lines += what_resolution_buys(curve)
    if camvid:
        lines += whole_or_windows(camvid)
    return [*lines, '', *commands(memory, curve, camvid)]


def what_resolution_buys(curve: dict) -> list[str]:
    """mIoU, the IoU of thin classes, time and memory at every scale."""
    images = curve['rows'][0]['images']
    lines = ['', f'Streets that `tools/make_streets.py` draws, {images} held-out images, one '
             'network at several sizes of its input, IoU:', '',
             '| input | all classes | ' + ' | '.join(THIN) + ' | the other classes | an image | '
             'peak |', '| --- |' + ' --- |' * (len(THIN) + 4)]
    for row in (row for row in curve['rows'] if 'miou' in row):
        rest = statistics.mean(iou for name, iou in row['classes'].items()
                               if name not in THIN and iou is not None)
        scores = [row['miou'], *(row['classes'][name] for name in THIN), rest]
        lines.append(f"| {row['scale']:g}×, {row['pixels'] / 1e6:.2g} MP | " +
                     ' | '.join(f'{s:.1f}' for s in scores) +
                     f" | {row['ms'] / 1000:.2f} s | {row['peak_mib']:.0f} MiB |")
    return [*lines, '', curve['note'], '',
            '![IoU, time and memory against the size of the input]'
            '(docs/results/resolution_streets.png)']


def whole_or_windows(results: dict) -> list[str]:
    """mIoU and time of whole images beside windows of the same networks."""
    cells = camvid_cells(results)
    columns = sorted({(scale, mode) for _, scale, mode in cells},
                     key=lambda column: (column[0], list(MODES).index(column[1])))
    seeds = over({key.split()[2] for key in results['rows']})
    lines = ['', 'CamVid, networks trained on crops of 240×320, whole images against windows of '
            f'that size, {seeds}, mIoU and time an image:',
            '', '| | ' + ' | '.join(f'{360 * scale:.0f}×{480 * scale:.0f}, {MODES[mode]}'
                                    for scale, mode in columns) + ' |',
            '| --- |' + ' --- |' * len(columns)]
    for net in dict.fromkeys(net for net, *_ in cells):
        row = [cells[(net, *column)] for column in columns]
        lines.append(f'| {net} | ' + ' | '.join(
            f"{cell['miou']:.1f}" + (f", {cell['ms'] / 1000:.2f} s" if cell['ms'] else '')
            for cell in row) + ' |')
    return [*lines, '', results['note']] if 'note' in results else lines
