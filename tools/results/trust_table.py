"""Results of killed runs and damaged data, as lines of Markdown."""
from commands import ending


def trust(results: dict) -> list[str]:
    """Killed runs, layouts of processes, damaged files."""
    return ['### Killed runs, several processes, damaged files', '', *survived(results), '',
            *ending(results)]


def survived(results: dict) -> list[str]:
    """The list of :func:`trust`."""
    rows, lines = results['rows'], []
    if killed := rows.get('killed at random'):
        equal = 'the same' if killed['bit_equal'] else 'OTHER'
        lines.append(f"- A distillation of {killed['iterations']} steps with averaged weights, "
                     f"killed by SIGKILL at {killed['kills']} random moments, ended with {equal} "
                     'weights as an undisturbed run.')
    for name, title in (('layouts, distillation', 'One global batch of distillation'),
                        ('layouts, segmentation', 'One global batch of segmentation'),
                        ('sharded distillation', 'Distillation with sharded weights')):
        if layouts := rows.get(name):
            lines.append(f'- {title} on several processes, 50 steps, against one process: ' +
                         '; '.join(
                             f"{layout.replace('x', '×')} (machines × processes) losses within "
                             f"{row['loss_gap']:.0e}, weights within {row['weight_gap']:.0e}"
                             for layout, row in layouts.items() if layout != '1x1') +
                         ' (relative).')
    if tested := rows.get('evaluation on two processes'):
        same = 'the same scores' if tested['equal'] else 'OTHER scores'
        lines.append(f"- {tested['images']} images evaluated on two processes: {same} as on one.")
    if restarted := rows.get('worker killed under torchrun'):
        equal = 'the same weights' if restarted['bit_equal'] else 'OTHER weights'
        lines.append('- One of two workers killed under torchrun: both were started again, resumed '
                     f'from the last checkpoint and ended with {equal}.')
    if fuzzed := rows.get('mutated configs and checkpoints'):
        counts = {kind: sum(fuzzed[kind].values()) for kind in ('configs', 'checkpoints')}
        lines.append(f"- {counts['configs']} mutated configs, trained and validated for a step, "
                     f"and {counts['checkpoints']} mutated checkpoints: {len(fuzzed['unclear'])} "
                     'ended neither in a result nor in one clear error.')
    if damaged := rows.get('damaged data'):
        outcomes: dict[str, int] = {}
        for counts in damaged.values():
            for outcome, count in counts.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
        words = {'named': 'named by `check_data.py` and by the data set that training reads',
                 'met only': 'named only by that data set (an image removed after it was listed)',
                 'checked only': 'named by '
                 '`check_data.py`, where training can continue', 'harmless': 'decoded to the same '
                 'pixels'}
        lines.append(f'- {sum(outcomes.values())} data sets with one damaged PNG ({len(damaged)} '
                     'kinds of damage): ' + ', '.join(
                         f'{count} {words.get(outcome, outcome.upper())}'
                         for outcome, count in outcomes.items()) + '.')
    return lines
