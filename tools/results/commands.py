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
            calls = [results, *results.get('added', [])]  # seeds of other calls
            unique.update(dict.fromkeys(call['command'] for call in calls))
    return ['```bash', *unique, '```', ''] if unique else []


def ending(results: dict) -> list[str]:
    """The command, and the file's own note, below a table."""
    return [*commands(results), *([results['note'], ''] if results.get('note') else [])]
