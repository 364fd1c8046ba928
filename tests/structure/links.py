"""Whatever README.md and docs/*.md name is there: files that links and pictures lead to, headings behind a #, and paths of
sources in the text. A path may be told from any folder on (`ranks/gather.c`) and may hold a star; what a user makes
(plan.json, runs/demo.trace) is nobody's to check. A test goes by its name, `planner/graph/golden`."""
import fnmatch
import os
import pathlib
import re
import sys

LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
FENCED = re.compile(r'^```.*?^```', re.S | re.M)
SOURCE_FILE = re.compile(r'(?<![\w/.~*-])((?:[\w*.-]+/)*[\w*-]+\.(?:c|h|cu|cpp|py|md|sh))(?![\w/(])')
MADE = ('runs',)  # by runs, not of the sources
OUTSIDE = ('mpi.h', 'nccl.h')
IN_FOLDER = r'(?<![\w/.~$-])((?:{})/[\w/*.-]*[\w/*])'


def tree(root):
    """All files and folders of the checkout, relative to it; what is built and what is run is left out."""
    found = []
    for folder, folders, files in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if not name.startswith(('build', '.git', '.cuda')) and name not in MADE]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in folders + files]
    return found


def headings(text):
    """The names by which GitHub links to the headings of a document."""
    lines = re.findall(r'^#+ +(.*)$', FENCED.sub('', text), re.M)
    return {re.sub(r'[^\w\- ]', '', line.lower()).replace(' ', '-') for line in lines}


def wrong_links(root, document, text):
    for target in LINK.findall(FENCED.sub('', text)):
        path, _, heading = target.partition('#')
        if ':' in path:
            continue  # on another machine
        to = (document.parent / path) if path else document
        if not to.exists():
            yield f'a link to {target}, which does not exist'
        elif heading and heading not in headings(text if to == document else to.read_text()):
            yield f'a link to {target}, and no heading there reads so'


def parts_not_found(text):
    """A long document begins with links to its parts."""
    linked = {target[1:] for target in LINK.findall(text) if target.startswith('#')}
    parts = re.findall(r'^## .*$', FENCED.sub('', text), re.M) if text.count('\n') > 400 else []
    for part in parts:
        if not headings(part) <= linked:
            yield f'no link to its part "{part[3:]}"'


def wrong_paths(known, text):
    tops = {path.split('/')[0] for path in known if '/' in path}
    in_folder = re.compile(IN_FOLDER.format('|'.join(sorted(map(re.escape, tops)))))
    for path in sorted({*SOURCE_FILE.findall(text), *in_folder.findall(text)}):
        path = path.rstrip('/.')
        forms = (path, '*/' + path, f'tests/{path}.c', f'tests/{path}.py')
        if path not in OUTSIDE and not any(fnmatch.fnmatch(name, form) for name in known for form in forms):
            yield f'a word of {path}, which does not exist'


def main():
    root = pathlib.Path(sys.argv[1])
    known = tree(root)
    faults, named = [], 0
    for document in [root / 'README.md', *sorted((root / 'docs').glob('*.md'))]:
        text = document.read_text()
        named += len(LINK.findall(text)) + len(SOURCE_FILE.findall(text))
        found = [*wrong_links(root, document, text), *parts_not_found(text), *wrong_paths(known, text)]
        faults += [f'{document.relative_to(root)} has {fault}' for fault in found]
    # The same on a page with one fault of each kind.
    page = 'See [one](docs/none.md), [two](docs/guide.md#no-such-part), `planner/none/` and `none/gather.c`; not plan.json.'
    page += '\n## A part\n' + '\n' * 400
    seen = [*wrong_links(root, root / 'README.md', page), *parts_not_found(page), *wrong_paths(known, page)]
    if len(seen) != 6:  # docs/none.md as a link and as a path
        faults.append(f'{len(seen)} faults were seen on a page with 6: {seen}')
    print('\n'.join(faults) or f'{named} files and links are there')
    return 1 if faults else 0


sys.exit(main())
