"""Every header compiles by itself, with nothing but what its folder is given by its meson.build, as the build has shown of those
that a file of their folder includes before anything else; it has a guard; and what the folder is not given does not compile: for every room, an include of one header of every room that is closed to it is tried."""
import json
import pathlib
import re
import shlex
import subprocess
import sys

source, build, compiler = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]


def code(path):
    return re.sub(r'/\*.*?\*/', '', path.read_text(), flags=re.S).lstrip()


def room_flags():
    """folder -> the include flags with which its files are compiled; folder -> headers that one of them includes first."""
    flags, first = {}, {}
    for entry in json.loads((build / 'compile_commands.json').read_text()):
        path = (build / entry['file']).resolve()
        folder = str(path.parent.relative_to(source.resolve()))
        if folder.split('/')[0] in ('tests', 'bench'):
            continue
        begin = re.match(r'#include "([^"/]+)"', code(path))
        first.setdefault(folder, set()).update(begin.groups() if begin else ())
        words = shlex.split(entry['command'])
        given = ['-I' + str((build / word[2:]).resolve()) for word in words if word.startswith('-I')]
        given += [word for word in words if word.startswith('-isystem/')]
        if len(given) > len(flags.get(folder, [])): # trainer/cpu's loops are compiled apart, with less
            flags[folder] = given
    return flags, first


def compiles(flags, *headers):
    return run_compiler(''.join(f'#include "{header}"\n' for header in headers) + 'typedef int nothing;\n', flags)


def found(flags, headers):
    """Those that an include would find; asked in one go, since a compiler ends at the first that it does not."""
    program = ''.join(f'#if __has_include("{header}")\n#warning finds {header} here\n#endif\n' for header in headers)
    told = run_compiler(program + 'typedef int nothing;\n', flags, '-Wno-error').stderr
    return [header for header in headers if f'finds {header} here' in told]


def run_compiler(program, flags, *more):
    return subprocess.run([*compiler, '-std=c11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', *more, '-x', 'c', '-', *flags],
                          input=program, capture_output=True, text=True)


flags, first = room_flags()
headers = {folder: sorted(path.name for path in (source / folder).glob('*.h')) for folder in flags}
alone = closed = failed = 0
for folder in flags:
    for header in headers[folder]:
        alone += 1
        if not re.match(r'#ifndef (\w+)\n#define \1\n', code(source / folder / header)):
            failed += 1
            print(f'{folder}/{header} has no guard')
        done = None if header in first[folder] else compiles(flags[folder], header)
        if done and done.returncode:
            failed += 1
            print(f'{folder}/{header} does not compile alone:\n{done.stderr}')
    if folder == 'cli':
        continue
    others = [other for other in flags if headers[other] and '-I' + str((source / other).resolve()) not in flags[folder]]
    tried = [headers[other][0] for other in others]
    own = headers[folder][:1]
    open_doors = found(flags[folder], tried + own)
    closed += len(tried)
    if own and own[0] not in open_doors:
        failed += 1
        print(f'{folder}/ does not find {own[0]}, its own: of others nothing is shown')
    for other, header in zip(others, tried):
        if header in open_doors:
            failed += 1
            print(f'{folder}/ compiles with {other}/{header}, which is closed to it')
print(f'{alone} headers compile alone; {closed} forbidden includes tried; {failed} failed')
sys.exit(1 if failed or alone < 100 or closed < 100 else 0)
