"""A figure of rows and series: a line of the page for each row, a colour for each series."""
import textwrap

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

COLOURS = ('#0b5fa5', '#dd8452', '#55a868', '#c44e52', '#8172b3')
Cell = tuple[float, float] | None  # value, deviation


def dots(panels: dict[str, dict[str, dict[str, Cell]]], label: str = '', from_zero: bool | str =
         False, width: int = 46):
    """Points with error bars, rows from the top down.

    Args:
        panels: Title → row → series → value and deviation.
        label: Of the horizontal axes.
        from_zero: Whether these start at 0; the title of the one panel whose axis does.
        width: Characters of a row's name in a line.

    Returns:
        The figure.
    """
    rows = list(dict.fromkeys(row for panel in panels.values() for row in panel))
    series = list(dict.fromkeys(s for panel in panels.values() for cells in panel.values()
                                for s in cells))
    names = ['\n'.join(textwrap.wrap(row, width, break_on_hyphens=False)) for row in rows]
    lines = sum(1 + name.count('\n') for name in names)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(min(3 + 3.5 * len(panels), 10), 0.27 * lines + 1.2), sharey=True,
        squeeze=False, layout='constrained')
    for ax, (title, panel) in zip(axes[0], panels.items(), strict=True):
        for number, one in enumerate(series):
            shift = 0.14 * ((len(series) - 1) / 2 - number)  # dots of one row beside each other
            points = [(place, cells[one]) for place, cells in enumerate(
                panel.get(row, {}) for row in rows) if cells.get(one)]
            ax.errorbar([value for _, (value, _) in points],
                        [len(rows) - 1 - place + shift for place, _ in points],
                        xerr=[deviation or float('nan') for _, (_, deviation) in points], fmt='o',
                        capsize=3, markersize=5, color=COLOURS[number], label=one)
        ax.set_yticks(range(len(rows))[::-1], names, fontsize=9)
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.margins(x=0.08)
        ax.set_xlabel(label)
        ax.set_title(title, fontsize=10)
        if from_zero is True or from_zero == title:
            ax.set_xlim(left=0)
        ax.grid(axis='x', alpha=0.3)
        ax.grid(axis='y', alpha=0.15)
    if len(series) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=8, frameon=False,
                      loc='outside upper center', ncols=len(series))
    return figure
