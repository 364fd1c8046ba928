"""Every header compiles by itself, with nothing but its own folder and the floors below it."""
import pathlib
import subprocess
import sys

source, flags = pathlib.Path(sys.argv[1]), sys.argv[2:]
folders = ['base', 'traces', 'planner/graph', 'planner/machine', 'planner/place', 'planner/recompute', 'planner', 'trainer',
           'trainer/cpu', 'profiler', 'tui', 'cli']
includes = [f'-I{source / folder}' for folder in folders]
failed = checked = 0
for folder in folders:
    for header in sorted((source / folder).glob('*.h')):
        program = f'#include "{header.name}"\n#include "{header.name}"\ntypedef int nothing;\n'
        done = subprocess.run([*flags, '-std=c11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-x', 'c', '-', *includes],
                              input=program, capture_output=True, text=True)
        checked += 1
        if done.returncode:
            failed += 1
            print(f'{header.relative_to(source)} does not compile alone:\n{done.stderr}')
print(f'{checked} headers, {failed} failed')
sys.exit(1 if failed or checked < 15 else 0)
