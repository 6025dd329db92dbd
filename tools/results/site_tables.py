"""Tables of the site's page of results, docs/results/index.md, whose sentences are by hand."""
import itertools
import re

_TABLE = re.compile(r'(<!-- table (\w+)(?: (\d+))? -->\n).*?(<!-- /table -->)', re.S)


def tables_in(lines: list[str]) -> list[list[str]]:
    """Tables of Markdown lines, in order."""
    return [list(block) for table, block in itertools.groupby(
        lines, lambda line: line.startswith('|')) if table]


def page(text: str, lines_of: dict[str, list[str]]) -> str:
    """The page with every table generated again.

    Args:
        text: The page, with ``<!-- table NAME [N] -->`` … ``<!-- /table -->``.
        lines_of: Name of a results file → lines about it, of which table N is taken, the first if
            there is no number.
    """
    def table(match: re.Match) -> str:
        name, number = match[2], int(match[3] or 0)
        rows = tables_in(lines_of[name])[number] if name in lines_of else ['Not measured yet.']
        return f'{match[1]}\n' + '\n'.join(rows) + f'\n\n{match[4]}'
    return _TABLE.sub(table, text)
