"""The dashboard in a real terminal (tmux): it draws, answers keys, follows a resize, and gives the terminal back."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

fathom, make_trace = map(os.path.abspath, sys.argv[1:3])
if not shutil.which('tmux'):
    print('tmux is not installed')
    sys.exit(77)

folder = pathlib.Path(tempfile.mkdtemp(prefix='fathom-pty-'))
socket = str(folder / 'socket')
environment = {**os.environ, 'LC_ALL': 'C.UTF-8', 'TERM': 'xterm-256color'}
environment.pop('TMUX', None)


def tmux(*words):
    return subprocess.run(['tmux', '-S', socket, '-f', '/dev/null', *words], env=environment, capture_output=True, text=True, check=True).stdout


def can_open_a_terminal():
    return subprocess.run(['tmux', '-S', socket, '-f', '/dev/null', 'new-session', '-d', '-s', 'probe', 'sleep 1'], env=environment, capture_output=True).returncode == 0


def screen():
    return tmux('capture-pane', '-p', '-t', 'top')


def wait_for(text, seconds=60, absent=False):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen = screen()
        if (text in seen) != absent:
            return seen
        time.sleep(0.05)
    raise AssertionError(f'{"still there" if absent else "not there"} after {seconds} s: {text!r}\n{screen()}')


def press(*keys):
    tmux('send-keys', '-t', 'top', *keys)


def check_silence(trace):
    """The trace of a run that died ten minutes ago."""
    cut = folder / 'cut.trace'
    whole = trace.read_bytes()
    cut.write_bytes(whole[:len(whole) * 3 // 4])
    os.utime(cut, (time.time() - 600, time.time() - 600))
    once = subprocess.run([fathom, 'top', str(cut), '--once'], capture_output=True, text=True, check=True).stdout
    assert 'SILENT FOR 10' in once, once


def check_crash():
    """A run that is killed: the dashboard that waits for its end says so and leaves."""
    data, trace = folder / 'data', folder / 'crash.trace'
    subprocess.run([fathom, 'data', 'synth', str(data), '--train', '200', '--test', '40'], check=True, stdout=subprocess.DEVNULL)
    words = ['resnet-8', '--batch', '8', '--data', str(data), '--iterations', '1000000', '--no-evaluate', '--trace', str(trace)]
    run = subprocess.Popen([fathom, 'train', *words], stdout=subprocess.DEVNULL, env={**environment, 'OMP_NUM_THREADS': '1'})
    try:
        end = time.monotonic() + 60
        while not trace.exists() or trace.stat().st_size < 20000:
            assert run.poll() is None and time.monotonic() < end, 'the run did not start'
            time.sleep(0.05)
        press(f'clear; {fathom} top {trace} --until-end; echo left with $?', 'Enter')
        wait_for('LIVE')
        live = json.loads(subprocess.run([fathom, 'top', str(trace), '--batch', 'json'], capture_output=True, check=True).stdout)
        assert not live['crashed'] and not live['ended'], live
    finally:
        run.kill()
    seen = wait_for('left with 1')  # before anybody has waited for the process
    assert 'has not closed its trace' in ' '.join(seen.split()), seen
    run.wait()
    time.sleep(1)  # --once counts whole seconds of silence
    once = subprocess.run([fathom, 'top', str(trace), '--once'], capture_output=True, text=True, check=True).stdout
    assert 'CRASHED' in once, once


def check_record(data):
    """Steps are recorded when somebody asks: r in the dashboard, SIGUSR2 to the run; nothing else ends or changes."""
    trace = folder / 'asked.trace'
    words = ['resnet-8', '--batch', '32', '--data', str(data), '--iterations', '1000000', '--no-evaluate', '--trace', str(trace), '--time-every', '1000000000']
    run = subprocess.Popen([fathom, 'train', *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**environment, 'OMP_NUM_THREADS': '1'})

    def times():
        done = subprocess.run([fathom, 'trace', 'stats', str(trace), '--by', 'pass', '--json'], capture_output=True, text=True)
        rows = {row['name']: row['instances'] for row in json.loads(done.stdout)['rows']} if done.returncode == 0 else {}
        return rows.get('update', 0)

    def wait_for_times(least):
        end = time.monotonic() + 60
        while times() < least:
            assert run.poll() is None and time.monotonic() < end, f'{times()} of {least} steps were recorded'
            time.sleep(0.05)

    try:
        end = time.monotonic() + 60
        while not trace.exists() or trace.stat().st_size < 10000:
            assert run.poll() is None and time.monotonic() < end, 'the run did not start'
            time.sleep(0.05)
        before = times()
        assert before <= 1, before
        press(f'clear; {fathom} top {trace}; echo left with $?', 'Enter')
        wait_for('LIVE')
        press('r')
        wait_for('RECORDING to step')
        wait_for_times(before + 64)
        wait_for('RECORDING', absent=True)
        wait_for('LIVE')
        press('q')
        wait_for('left with 0')
        os.kill(run.pid, signal.SIGUSR2)
        wait_for_times(before + 128)
        assert times() == before + 128, times()
        told = json.loads(subprocess.run([fathom, 'top', str(trace), '--batch', 'json'], capture_output=True, check=True).stdout)
        assert told['recording_until'] is None and not told['ended'], told['recording_until']
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 0, run.stderr.read()
        press(f'clear; {fathom} top {trace}; echo left with $?', 'Enter')
        wait_for('ENDED')
        press('r')
        wait_for('the run is over')
        press('q')
        wait_for('left with 0')
    finally:
        run.kill()


def check_train(data):
    """`train --top`: q leaves the dashboard and the run's own lines follow; Ctrl-C in the dashboard ends the run in good order."""
    words = f'resnet-8 --batch 8 --data {data} --iterations 100000 --no-evaluate --trace {folder}/top.trace --top'
    for keys in (['q'], []):
        press(f'clear; OMP_NUM_THREADS=1 {fathom} train {words}; echo left with $?', 'Enter')
        wait_for('q quit')
        if keys:
            press(*keys)
            wait_for('the run goes on without the dashboard')
            wait_for('images/s')
        press('C-c')
        seen = wait_for('left with 0')
        assert 'stopped by Ctrl-C after step' in ' '.join(seen.split()), seen


def check_replay(trace):
    """Step by step, on and back: what is shown stands until a key. A trace that is gone by then is no end."""
    gone = folder / 'gone.trace'
    shutil.copy(trace, gone)
    trace = gone
    press(f'clear; {fathom} top {trace} --replay --speed 0.001; echo left with $?', 'Enter')
    wait_for('REPLAY 0.001 x')
    press('Space')
    done = int(re.search(r'step (\d+)/', wait_for('PAUSED')).group(1))
    for key, step in (('n', 1), ('n', 2), ('p', 1), ('n', 2), ('n', 3)):
        press(key)
        assert 'PAUSED' in wait_for(f'step {done + step}/'), (done, step)
    gone.unlink()
    press('p')
    seen = wait_for('the trace cannot be opened again')
    assert f'step {done + 3}/' in seen, seen
    press('Space', '>')
    wait_for('REPLAY 0.002 x')
    press('q')
    wait_for('left with 0')


def check_dumb_terminal(trace):
    press(f'clear; TERM=dumb {fathom} top {trace}; echo left with $?', 'Enter')
    assert "TERM: in a terminal of the type 'dumb'" in wait_for('left with 2')


def main():
    trace = folder / 'run.trace'
    subprocess.run([make_trace, str(trace)], check=True, stdout=subprocess.DEVNULL)
    tmux('new-session', '-d', '-s', 'top', '-x', '80', '-y', '24', 'sh')
    press(f'{fathom} top {trace}; echo left with $?', 'Enter')
    first = wait_for('q quit')  # the last line drawn
    assert 'Ops:' in first and 'Memory:' in first and 'Loss:' in first, first
    assert all(len(line) <= 80 for line in first.splitlines()), first
    press('?')
    wait_for('Keys')
    press('?')
    wait_for('Keys', absent=True)
    press('3')
    wait_for('[3 layers]')
    press('2')
    press('/')
    press('bwd_weights', 'Enter')
    wait_for('with bwd_weights')
    wait_for('conv_bwd_data', absent=True)
    tmux('resize-window', '-t', 'top', '-x', '160', '-y', '40')
    end = time.monotonic() + 60
    while max(len(line) for line in screen().splitlines()) < 150:
        assert time.monotonic() < end, 'the resize was not followed\n' + screen()
        time.sleep(0.05)
    press('q')
    wait_for('left with 0')
    press('clear; echo the terminal works', 'Enter')
    wait_for('the terminal works')
    check_replay(trace)
    check_dumb_terminal(trace)
    check_silence(trace)
    check_crash()
    check_record(folder / 'data')
    check_train(folder / 'data')
    print('1 session: drawn, keys, filter, resize, quit; a replay step by step; a run that died is not live, one that is killed has crashed; steps recorded on demand; a run that shows its own')


if not can_open_a_terminal():
    print('no terminal can be opened here')
    sys.exit(77)
try:
    main()
finally:
    subprocess.run(['tmux', '-S', socket, 'kill-server'], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
