"""Every page of the built site in Chromium: desktop and phone, light and dark.

    pip install playwright      # and Chromium: your system's, or playwright install chromium
    python docs/check_browser.py docs/_build/html [--pictures FOLDER] [--pages index.html ...]

Fails where a page writes an error to the console, asks for a file that is not there, or is wider
than the window. With --pictures the upper 2,000 pixels of each page are kept, to be looked at.
"""
import argparse
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

WINDOWS = {'desktop': (1280, 900), 'phone': (390, 844)}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *_) -> None:
        pass


def look(browser: Browser, address: str, page: str, window: str, scheme: str,
         picture: Path | None) -> list[str]:
    """What is wrong with a page in one window and colour scheme."""
    width, height = WINDOWS[window]
    tab = browser.new_page(viewport=dict(width=width, height=height), color_scheme=scheme)
    faults: list[str] = []
    tab.on('console', lambda m: faults.append(m.text) if m.type in ('error', 'warning') else None)
    tab.on('pageerror', lambda error: faults.append(str(error)))
    tab.on('response', lambda r: faults.append(f'{r.status} {r.url}') if r.status >= 400 else None)
    tab.goto(f'{address}/{page}', wait_until='load')
    wide = tab.evaluate('document.documentElement.scrollWidth')
    if wide > width + 1:
        faults.append(f'{wide} pixels wide in a window of {width}')
    dark = tab.evaluate('getComputedStyle(document.body).backgroundColor') != 'rgb(255, 255, 255)'
    if dark != (scheme == 'dark'):
        faults.append(f'its background is not {scheme}')
    if picture:
        tab.screenshot(path=picture, full_page=True,
                       clip=dict(x=0, y=0, width=width, height=2000))
    tab.close()
    return [f'{page}, {window}, {scheme}: {fault}' for fault in faults]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('site', type=Path)
    parser.add_argument('--pages', nargs='+', help='default: all')
    parser.add_argument('--pictures', type=Path)
    args = parser.parse_args()
    pages = args.pages or sorted(path.relative_to(args.site).as_posix()
                                 for path in args.site.rglob('*.html'))
    if not pages:
        raise SystemExit(f'{args.site}: no site is built there; run make docs')
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(args.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = shutil.which('chromium') or shutil.which('google-chrome')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=own)
        faults = [fault for page in pages for window in WINDOWS for scheme in ('light', 'dark')
                  for fault in look(
                      browser, f'http://127.0.0.1:{server.server_port}', page, window, scheme,
                      args.pictures and args.pictures /
                      f"{page.replace('/', '_')}_{window}_{scheme}.png")]
        browser.close()
    server.shutdown()
    if faults:
        raise SystemExit('\n'.join(faults))
    print(f'{len(pages)} pages, each on a desktop and a phone, light and dark: no errors, none is '
          'wider than its window')


if __name__ == '__main__':
    main()
