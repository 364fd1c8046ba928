"""`./dev setup` (and so `./dev test`) gives a build folder with tests, whatever lay there before: in this tree where it was set
up without them, and in one with the same options and a single test, which is set up in a tenth of the time."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1])
SKIPPED = 77


def leave_out(names):
    return [name for name in names if name.startswith(('build', '.')) or name in ('runs', 'docs')]


SMALL = """project('small', 'c')
if not get_option('tests').disabled()
  test('cli/errors', find_program('true'))
endif
"""


def small_tree(place):
    tree = place / 'small'
    tree.mkdir()
    for name in ('dev', 'meson_options.txt'):
        shutil.copy(SOURCE / name, tree)
    (tree / 'meson.build').write_text(SMALL)
    return tree


def whole(tree):
    """Nothing was there: what comes next finds a whole folder."""


def meson(tree, *words):
    return subprocess.run(['meson', *words], cwd=tree, capture_output=True, text=True)


def without_tests(tree):
    """As `./dev demo` leaves it where Criterion is not installed."""
    shutil.rmtree(tree / 'build', ignore_errors=True)
    assert meson(tree, 'setup', 'build', '-Dtests=disabled').returncode == 0


def broken_off(tree):
    """In a folder that was whole."""
    (tree / 'build' / 'build.ninja').unlink()


def failed(tree):
    """A set-up whose compiler does not work."""
    shutil.rmtree(tree / 'build')
    environment = {**os.environ, 'CC': 'false'}
    subprocess.run(['meson', 'setup', 'build'], cwd=tree, env=environment, capture_output=True)


def compiler_gone(tree):
    shutil.rmtree(tree / 'build')
    tool = tree / 'mycc'
    tool.write_text('#!/bin/sh\nexec cc "$@"\n')
    tool.chmod(0o755)
    subprocess.run(['meson', 'setup', 'build'], cwd=tree, env={**os.environ, 'CC': str(tool)}, capture_output=True)
    tool.unlink()


def moved(tree):
    """The tree was copied together with the build folder of another place, which is still there."""
    info = tree / 'build' / 'meson-info' / 'meson-info.json'
    told = json.loads(info.read_text())
    told['directories']['source'] = str(SOURCE)
    info.write_text(json.dumps(told))


def wrong_after(state, tree):
    state(tree)
    done = subprocess.run(['./dev', 'setup'], cwd=tree, capture_output=True, text=True)
    if done.returncode:
        return f'exit code {done.returncode}: {done.stdout}{done.stderr}'
    tests = json.loads(meson(tree, 'introspect', '--tests', 'build').stdout)
    info = json.loads((tree / 'build' / 'meson-info' / 'meson-info.json').read_text())
    if not any(test['name'] == 'cli/errors' for test in tests):
        return 'no tests are set up'
    return None if os.path.samefile(info['directories']['source'], tree) else 'the folder is that of another tree'


def main():
    if not shutil.which('dpkg-query'):
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix='fathom-dev-') as name:
        tree = pathlib.Path(name) / 'fathom'
        shutil.copytree(SOURCE, tree, ignore=lambda folder, names: leave_out(names) if folder == str(SOURCE) else [])
        small = small_tree(pathlib.Path(name))
        # Each state begins in what the one before has left, a folder that is whole.
        states = [(without_tests, tree)] + [(state, small) for state in (whole, without_tests, broken_off, failed, compiler_gone, moved)]
        wrong = [f'{state.__name__}: {fault}' for state, place in states if (fault := wrong_after(state, place))]
    print('\n'.join(wrong) or 'a build folder with tests, whatever was there before')
    return 1 if wrong else 0


sys.exit(main())
