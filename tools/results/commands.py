"""The commands that measured a file, and its note."""


def commands(*files: dict | None) -> list[str]:
    """One block of the commands whose rows are in these files; None is skipped."""
    unique: dict[str, None] = {}
    for results in filter(None, files):
        if 'calls' in results:  # of tools/benchmark.py
            used = sorted({row['call'] for row in results['rows'].values()
                           if not row.get('stale')})
            unique.update(dict.fromkeys(results['calls'][n]['command'] for n in used))
        elif 'commands' in results:  # a part each
            unique.update(dict.fromkeys(results['commands'].values()))
        else:
            unique.update(dict.fromkeys(_calls_of_recipe(results)))
    return ['```bash', *unique, '```', ''] if unique else []


def _calls_of_recipe(results: dict) -> list[str]:
    """The commands of a recipe that ran in several calls; more than three are joined to one."""
    all_calls = [call['command'] for call in (results, *results.get('added', []))]
    if len(all_calls) <= 3:
        return all_calls
    out = results['command'].partition(' --out ')[2].split(' ')[0]
    seeds = sorted({int(seed) for seed in results['runs']})
    stages = sorted({stage for runs in results['runs'].values() for stage in runs})
    return [f'# in {len(all_calls)} calls, not every stage with every seed',
            f"python tools/run_recipe.py {results['recipe']} --seeds {' '.join(map(str, seeds))} "
            f"--stages {' '.join(stages)} --out {out}"]


def ending(results: dict) -> list[str]:
    """The command, and the file's own note, below a table."""
    return [*commands(results), *([results['note'], ''] if results.get('note') else [])]
