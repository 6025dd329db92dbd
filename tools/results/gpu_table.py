"""A GPU run's memory traffic and waits, counted without a GPU, as lines of Markdown."""
from commands import ending


def counts(results: dict) -> list[str]:
    """A row a layer; parameter groups, waits, spilled registers and reading below."""
    lines = ['### Memory traffic of a GPU run', '',
             '| layer | least, GB | eager: GB, times the least, kernels | Triton kernels |',
             '| --- | --- | --- | --- |']
    for name, layer in results['layers'].items():
        forms = (f"{form['gigabytes']:.3g}, {form['times_floor']:.1f}×, {form['kernels']}"
                 for form in (layer['eager'], layer['fused']))
        lines.append(f"| {name} | {layer['floor_gigabytes']:.3g} | {' | '.join(forms)} |")
    lines += ['', 'Of the block and of the Mamba-2 mixer the least is what their matrix products '
              'alone move; residuals, reversals and all else are counted too. A norm is one '
              'kernel, in either direction.']
    lines += ['', 'The same by kernels of other packages. The block has mamba-ssm\'s scan among '
              'our kernels, or its mixer as one node:', '',
              '| layer: package | version | GB | kernels | times the bytes of our kernels |',
              '| --- | --- | --- | --- | --- |']
    lines += [f"| {name} | {row['version']} | {row['gigabytes']:.3g} | {row['kernels']} | "
              f"{row['times_ours']:.2f} |" for name, row in results['packages'].items()]
    lines += ['', 'Whole steps of distillation, forward and backward, teacher and objectives '
              'included; without the optimiser and without what `--amp` casts:', '',
              '| config | images | its matrix products, GB | eager: GB, kernels | Triton kernels |',
              '| --- | --- | --- | --- | --- |']
    for name, row in results['steps'].items():
        forms = (f"{row[form]['gigabytes']:.0f}, {row[form]['kernels']:,}"
                 for form in ('eager', 'fused'))
        lines.append(f"| `{name}` | {row['images']} | {row['products_gigabytes']:.0f} | "
                     f"{' | '.join(forms)} |")
    step = results['training_step']
    groups = ', '.join(f"{row['before']} to {row['now']} (`{schedule}`)"
                       for schedule, row in step['parameter_groups'].items())
    reading = results['reading']
    speed, operators = reading['images_a_second_and_core'], reading['operators_of_a_batch']
    waits, spilled = step['host_waits'], [r['spilled'] for r in results['registers'].values()]
    return [*lines, '',
            f'Parameter groups: {groups}. Waits of the host for the device with a fused optimiser, '
            f'gradients clipped or not, losses logged every 50 steps: {waits["most_steps"]} in '
            f'most steps, at most {waits["worst_step"]}, {waits["a_hundred_steps"]} in a hundred '
            f'({waits["a_hundred_steps_with_clipping"]} with clipping; with mmengine\'s hooks '
            f'{waits["a_hundred_steps_before"]}, and '
            f'{waits["a_hundred_steps_before_with_clipping"]}). Bytes of registers spilled by the '
            f'{len(spilled)} compiled Triton kernels: {sum(spilled)}. Operators on a batch '
            f"of {operators['images']} images between loader and model: {operators['ours']} (the "
            f"libraries: {operators['libraries']}); images read a second and core, on a CPU: "
            f"{speed['ours']:,.0f} ({speed['libraries']:,.0f}).", '', *ending(results)]
