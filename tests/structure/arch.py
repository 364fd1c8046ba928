"""Keeps the picture of docs/architecture.md true: includes point downward, each outside library is used where the table
says, only base/mem.c allocates, only cli/ and tui/ speak, only trainer/cuda and profiler/cupti need CUDA's symbols."""
import pathlib
import re
import subprocess
import sys

SOURCE = pathlib.Path(sys.argv[1])
BUILD = pathlib.Path(sys.argv[2])

# folder -> folders whose headers it may include
MAY_USE = {
    'base': set(),
    'planner/graph': {'base'},
    'planner/machine': {'base'},
    'planner/place': {'base'},
    'planner/recompute': {'base'},
    'planner': {'planner/graph', 'planner/machine', 'planner/place', 'planner/recompute', 'base'},
    'traces': {'base'},
    'trainer': {'planner', 'planner/graph', 'planner/machine', 'traces', 'base'},
    'trainer/cpu': {'trainer', 'planner/graph', 'base'},
    'trainer/cuda': {'trainer', 'planner/graph', 'base'},
    'profiler': {'traces', 'base'},
    'profiler/cupti': {'profiler', 'traces', 'base'},
    'tui': {'traces', 'base'},
}
# outside header (prefix) -> the files or folders that may include it
OUTSIDE = {
    'hwloc': {'planner/machine/host.c'},
    'curses': {'tui/screen.c'},
    'ncurses': {'tui/screen.c'},
    'dnnl': {'trainer/cpu/onednn.c', 'trainer/cpu/onednn_version.h'},
    'oneapi/dnnl': {'trainer/cpu/onednn.c'},
    'jpeglib': {'trainer/jpeg.c'},
    'xxhash': {'base/hash.c'},
    'jansson': {'base/json.h'},
    'cuda': {'trainer/cuda'},
    'cudnn': {'trainer/cuda'},
    'nccl': {'trainer/cuda'},
    'cupti': {'profiler/cupti'},
}
CUDA_SYMBOL = re.compile(r'\b(cu[A-Z]\w+|cuda[A-Z]\w+|cudnn[A-Z]\w+|nccl[A-Z]\w+|cupti[A-Z]\w+)')
ALLOCATION = re.compile(r'(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup|asprintf|aligned_alloc|posix_memalign)\s*\(')
SPEECH = re.compile(r'(?<![\w.>])(printf|puts|putchar|perror)\s*\(|\b(stdout|stderr)\b')

faults = []


def fault(path, line, what):
    faults.append(f'{path}:{line}: {what}')


def sources():
    for folder in sorted(set(MAY_USE) | {'cli'}):
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
            elif folder != 'cli' and home != folder and home not in MAY_USE[folder]:
                fault(path, number, f'{folder}/ may not include {home}/{own.group(1)}')
        if system:
            for prefix, allowed in OUTSIDE.items():
                if system.group(1).startswith(prefix) and str(path) not in allowed and folder not in allowed:
                    fault(path, number, f'<{system.group(1)}> belongs in {", ".join(sorted(allowed))}')


def check_calls(folder, path, code):
    for number, line in enumerate(code.splitlines(), 1):
        if str(path) != 'base/mem.c' and ALLOCATION.search(line):
            fault(path, number, f'allocates or frees outside base/mem: {line.strip()}')
        if folder not in ('cli', 'tui') and SPEECH.search(line):
            fault(path, number, f'a library speaks: {line.strip()}')


def check_symbols():
    checked = 0
    for archive in sorted(BUILD.glob('**/libfathom_*.a')):
        if re.search(r'libfathom_(cuda|cupti)', archive.name):
            continue
        found = subprocess.run(['nm', '-u', str(archive)], capture_output=True, text=True).stdout
        checked += 1
        for symbol in sorted(set(CUDA_SYMBOL.findall(found))):
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
    archives = check_symbols()
    if files < 20 or archives < 5:
        faults.append(f'only {files} files and {archives} archives were seen: the check looks in the wrong place')
    print('\n'.join(faults) if faults else f'{files} files, {archives} libraries: every arrow points downward')
    return 1 if faults else 0


sys.exit(main())
