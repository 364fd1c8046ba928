"""Keeps the picture of docs/architecture.md true: includes point downward, each outside library is used where the table
says, only base/mem.c allocates, only cli/ and tui/ speak, nothing asks the locale what a letter is, only trainer/cuda and
profiler/cupti need CUDA's symbols."""
import pathlib
import re
import subprocess
import sys

SOURCE = pathlib.Path(sys.argv[1])
BUILD = pathlib.Path(sys.argv[2])

def read_rooms():
    """folder -> folders whose headers its meson.build gives it: what compiles, so what may be included."""
    names, lists = {}, {}
    for path in sorted(SOURCE.glob('**/meson.build')):
        text, folder = path.read_text(), str(path.parent.relative_to(SOURCE))
        own = re.search(r"^(\w+)_inc = include_directories\('\.'\)", text, re.M)
        if own:
            names[own.group(1)] = folder
        given = re.search(r'static_library\(.fathom_\w+.*?include_directories: \[([^\]]*)\]', text, re.S)
        if own and given:
            lists[folder] = re.findall(r'(\w+)_inc\b', given.group(1))
    return {folder: {names[name] for name in lists[folder]} - {folder} for folder in lists}


# What the picture of docs/architecture.md says: no folder may be given more than this.
PLAN = {'planner/plan', 'planner/graph', 'planner/machine'}
PLACERS = {'planner/place/problem', 'planner/place/cuts', 'planner/place/eject', 'planner/place/fast', 'planner/place/perfect', 'planner/place/search'}
MAKE = PLAN | {'planner/make', 'planner/cost'}
PICTURE = {
    'base': set(),
    'pictures': {'base'},
    'traces': {'base'},
    'traces/draw': {'traces', 'pictures', 'base'},
    'recipes': {'planner/graph', 'base'},
    'planner/graph': {'base'},
    'planner/machine': {'base'},
    'planner/place/problem': {'base'},
    'planner/place/cuts': {'planner/place/problem', 'base'},
    'planner/place/eject': {'planner/place/problem', 'base'},
    'planner/place/fast': {'planner/place/problem', 'base'},
    'planner/place/perfect': {'planner/place/problem', 'base'},
    'planner/place/search': {'planner/place/problem', 'base'},
    'planner/place': PLACERS | {'base'},
    'planner/place/chunks': {'planner/place', 'planner/place/fast', 'planner/place/problem', 'base'},
    'planner/place/order': {'planner/place', 'planner/place/problem', 'base'},
    'planner/place/check': {'planner/place/order', 'planner/place/problem', 'base'},
    'planner/place/files': {'planner/place/chunks', 'planner/place/order', 'planner/place/check', 'planner/place', 'planner/place/problem', 'base'},
    'planner/recompute': {'base'},
    'planner/engines': {'planner/graph', 'planner/machine', 'base'},
    'planner/engines/cudnn': {'base'},
    'planner/plan': {'planner/graph', 'planner/machine', 'base'},
    'planner/cost': PLAN | {'base'},
    'planner/make': PLAN | {'planner/cost', 'planner/place', 'planner/place/problem', 'planner/recompute', 'base'},
    'planner/study': MAKE | {'base'},
    'planner/draw': MAKE | {'planner/study', 'pictures', 'base'},
    'trainer/ranks': {'base'},
    'trainer/device': PLAN | {'traces', 'base'},
    'trainer/data': {'base'},
    'trainer/run': PLAN | {'trainer/device', 'trainer/data', 'trainer/ranks', 'recipes', 'traces', 'base'},
    'trainer/runs': PLAN | {'trainer/run', 'trainer/device', 'trainer/data', 'trainer/ranks', 'recipes', 'traces', 'pictures', 'base'},
    'trainer/cpu': {'trainer/device', 'trainer/ranks', 'planner/graph', 'base'},
    'trainer/cuda': {'trainer/device', 'planner/engines', 'planner/engines/cudnn', 'planner/graph', 'planner/machine', 'base'},
    'profiler': {'traces', 'base'},
    'profiler/cupti': {'traces', 'base'},
    'profiler/nvml': {'profiler', 'traces', 'base'},
    'tui': {'traces', 'base'},
}
# A program of its own beside the binary: it speaks, as cli/ does.
HELPER = 'planner/engines/helper'
HELPER_SEES = {'planner/engines/cudnn', 'base'}
# outside header (prefix) -> the files or folders that may include it
OUTSIDE = {
    'hwloc': {'planner/machine/host.c'},
    'curses': {'tui/screen.c'},
    'ncurses': {'tui/screen.c'},
    'dnnl': {'trainer/cpu/onednn_calls.h'},
    'jpeglib': {'trainer/data/jpeg.c', 'trainer/data/jpeg_input.h', 'trainer/data/jpeg_memory.h'},
    'xxhash': {'base/hash.c'},
    'png': {'trainer/data/png_decoder.c'},
    'webp/': {'trainer/data/webp_decoder.c'},
    'zlib': {'traces/kineto_json.c'},
    'jansson': {'base/json.h'},
    'cuda': {'trainer/cuda', 'planner/engines/cudnn'},
    'cudnn': {'trainer/cuda', 'planner/engines/cudnn'},
    'nccl': {'trainer/cuda'},
    'cupti': {'profiler/cupti'},
    'mpi': {'trainer/ranks/mpi'}, # a module of its own: in no room
}
THREAD = re.compile(r'\bpthread_create\s*\(')
LOADED_SYMBOL = re.compile(r'\b(dnnl_\w+|cu[A-Z]\w+|cuda[A-Z]\w+|cudnn[A-Z]\w+|nccl[A-Z]\w+|cupti[A-Z]\w+)')
ALLOCATION = re.compile(r'(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup|asprintf|aligned_alloc|posix_memalign)\s*\(')
# What they answer depends on the locale (in Turkish I is not the capital of i): base/ascii.h.
LOCALE = re.compile(r'(?<![\w.>])(strn?casecmp|strcasestr|tolower|toupper|'
                    r'is(alnum|alpha|blank|cntrl|graph|lower|print|punct|space|upper))\s*\(')
SPEECH = re.compile(r'(?<![\w.>])(printf|puts|putchar|perror)\s*\(|\b(stdout|stderr)\b')

ROOMS = read_rooms()
faults = []


def fault(path, line, what):
    faults.append(f'{path}:{line}: {what}')


def sources():
    for folder in sorted(ROOMS) + ['cli', HELPER]:
        for path in sorted((SOURCE / folder).glob('*.[ch]')):
            yield folder, path.relative_to(SOURCE)


def strip_comments(text):
    blank = lambda m: re.sub(r'[^\n]', ' ', m.group())
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def header_homes():
    homes = {}
    for folder, path in sources():
        if path.suffix == '.h':
            if path.name in homes:
                fault(path, 1, f'header name is used twice (also in {homes[path.name]}/)')
            homes[path.name] = folder
    return homes


def check_includes(folder, path, text, homes):
    for number, line in enumerate(text.splitlines(), 1):
        own = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        system = re.match(r'\s*#\s*include\s+<([^>]+)>', line)
        if own:
            home = homes.get(own.group(1))
            if home is None:
                fault(path, number, f'includes "{own.group(1)}", which no folder has')
            elif folder != 'cli' and home != folder and home not in ROOMS.get(folder, HELPER_SEES):
                fault(path, number, f'{folder}/ may not include {home}/{own.group(1)}')
        if system:
            for prefix, allowed in OUTSIDE.items():
                if system.group(1).startswith(prefix) and str(path) not in allowed and folder not in allowed:
                    fault(path, number, f'<{system.group(1)}> belongs in {", ".join(sorted(allowed))}')


def check_calls(folder, path, code):
    for number, line in enumerate(code.splitlines(), 1):
        if str(path) != 'base/mem.c' and ALLOCATION.search(line):
            fault(path, number, f'allocates or frees outside base/mem: {line.strip()}')
        if str(path) != 'base/thread.c' and THREAD.search(line):
            fault(path, number, f'starts a thread outside base/thread: {line.strip()}')
        if LOCALE.search(line):
            fault(path, number, f'takes letters as the locale does: {line.strip()}')
        if folder not in ('cli', 'tui', HELPER) and SPEECH.search(line):
            fault(path, number, f'a library speaks: {line.strip()}')


def find_circles(arrows):
    """Groups of names that reach each other (Tarjan)."""
    order, low, stack, circles = {}, {}, [], []

    def visit(name):
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in arrows.get(name, ()):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name):]
            del stack[stack.index(name):]
            if len(group) > 1:
                circles.append(sorted(group))

    for name in sorted(arrows):
        if name not in order:
            visit(name)
    return circles


def check_circles(homes):
    """A header and the file that bears its name are one thing to a reader, and so is NAME_private.h with NAME. No two
    such things may include each other, over whatever detour, and no two folders."""
    def thing(path):
        return str(path.with_suffix('')).removesuffix('_private')

    files, folders = {}, {}
    for folder, path in sources():
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', (SOURCE / path).read_text(), re.M):
            if name not in homes:
                continue
            target = pathlib.Path(homes[name]) / name
            if thing(target) != thing(path):
                files.setdefault(thing(path), set()).add(thing(target))
            if homes[name] != folder:
                folders.setdefault(folder, set()).add(homes[name])
    for kind, arrows in (('files', files), ('folders', folders)):
        for circle in find_circles(arrows):
            fault(circle[0], 1, f'{kind} that include each other: {", ".join(circle)}')


def check_rooms():
    for folder, given in ROOMS.items():
        if folder not in PICTURE:
            fault(f'{folder}/meson.build', 1, 'a room that the picture does not have')
        elif given - PICTURE[folder]:
            fault(f'{folder}/meson.build', 1, f'is given {", ".join(sorted(given - PICTURE[folder]))} against the picture')


def check_symbols():
    checked = 0
    for archive in sorted(BUILD.glob('**/libfathom_*.a')):
        if re.search(r'libfathom_(cuda|cupti)', archive.name):
            continue
        found = subprocess.run(['nm', '-u', str(archive)], capture_output=True, text=True).stdout
        checked += 1
        for symbol in sorted(set(LOADED_SYMBOL.findall(found))):
            fault(archive.name, 0, f'needs {symbol}')
    return checked


def main():
    homes = header_homes()
    files = 0
    for folder, path in sources():
        text = (SOURCE / path).read_text()
        check_includes(folder, path, text, homes)
        check_calls(folder, path, strip_comments(text))
        files += 1
    check_rooms()
    check_circles(homes)
    archives = check_symbols()
    if files < 20 or archives < 5:
        faults.append(f'only {files} files and {archives} archives were seen: the check looks in the wrong place')
    print('\n'.join(faults) if faults else f'{files} files, {archives} libraries: every arrow points downward')
    return 1 if faults else 0


sys.exit(main())
