"""Every header compiles by itself, with nothing but what its folder is given by its meson.build; and what the folder is not
given does not compile: for every room, an include of one header of every room that is closed to it is tried."""
import json
import pathlib
import re
import shlex
import subprocess
import sys

source, build, compiler = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]


def room_flags():
    """folder -> the include flags with which its files are compiled."""
    flags = {}
    for entry in json.loads((build / 'compile_commands.json').read_text()):
        path = (build / entry['file']).resolve()
        folder = str(path.parent.relative_to(source.resolve()))
        if folder.split('/')[0] in ('tests', 'bench'):
            continue
        words = shlex.split(entry['command'])
        given = ['-I' + str((build / word[2:]).resolve()) for word in words if word.startswith('-I')]
        given += [word for word in words if word.startswith('-isystem/')]
        if len(given) > len(flags.get(folder, [])): # trainer/cpu's loops are compiled apart, with less
            flags[folder] = given
    return flags


def compiles(flags, *headers):
    program = ''.join(f'#include "{header}"\n' for header in headers) + 'typedef int nothing;\n'
    return subprocess.run([*compiler, '-std=c11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-x', 'c', '-', *flags],
                          input=program, capture_output=True, text=True)


flags = room_flags()
headers = {folder: sorted(path.name for path in (source / folder).glob('*.h')) for folder in flags}
alone = closed = failed = 0
for folder in flags:
    for header in headers[folder]:
        done = compiles(flags[folder], header, header)
        alone += 1
        if done.returncode:
            failed += 1
            print(f'{folder}/{header} does not compile alone:\n{done.stderr}')
    if folder == 'cli':
        continue
    for other in flags:
        given = any(flag == '-I' + str((source / other).resolve()) for flag in flags[folder])
        if given or not headers[other]:
            continue
        done = compiles(flags[folder], headers[other][0])
        closed += 1
        if done.returncode == 0 or not re.search(r'No such file', done.stderr):
            failed += 1
            print(f'{folder}/ compiles with {other}/{headers[other][0]}, which is closed to it')
print(f'{alone} headers compile alone; {closed} forbidden includes tried; {failed} failed')
sys.exit(1 if failed or alone < 100 or closed < 100 else 0)
