"""Every link of the built site that stays in it leads to a page, and its anchor is there.

    python docs/check_links.py docs/_build/html
"""
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and what can be linked in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ('href', 'src') and value:
                self.links.append(value)
            elif name in ('id', 'name') and value:
                self.anchors.add(value)


def broken(site: Path) -> list[str]:
    """'page: link' of every link within ``site`` that leads nowhere."""
    pages = {path.resolve(): Page(path.read_text(encoding='utf-8'))
             for path in site.rglob('*.html')}
    faults = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith('//'):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / 'index.html' if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.is_file() or (
                    anchor and target in pages and anchor not in pages[target].anchors):
                faults.append(f'{path.relative_to(site.resolve())}: {link}')
    return faults


def main() -> None:
    site = Path(sys.argv[1])
    if not (site / 'index.html').is_file():
        raise SystemExit(f'{site}: no site is built there; run make docs')
    if faults := broken(site):
        raise SystemExit('links that lead nowhere:\n' + '\n'.join(faults))
    print(f'{site}: all internal links and anchors hold')


if __name__ == '__main__':
    main()
