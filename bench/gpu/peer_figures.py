"""What PyTorch reaches on a GPU (bench/peer), measured once: figures are appended to a file as they come, and taken from there
by later runs on the same GPU with the same script, PyTorch and cuDNN, which then have their time for fathom's."""
import hashlib
import json
import pathlib

NAME = 'peers.jsonl'
ASK = 'import json, torch; print(json.dumps({"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}))'


def told(line):
    try:
        row = json.loads(line)
    except ValueError:  # the last line of a run that was ended
        return None
    return row if isinstance(row, dict) and 'key' in row and 'figure' in row else None


def last_object(said):
    """Of the lines that a program said, warnings among them."""
    return json.loads([line for line in said.splitlines() if line.startswith('{')][-1])


class Peers:
    """The figures of one GPU: of this folder, and of others that were carried here."""

    def __init__(self, gpu, script, folder, *others):
        self.gpu, self.script, self.path = gpu, script, pathlib.Path(folder) / NAME
        self.versions = None
        self.known = {}
        for path in (*(pathlib.Path(other) / NAME for other in others), self.path):
            lines = path.read_text(errors='replace').splitlines() if path.exists() else []
            self.known.update((json.dumps(row['key']), row['figure']) for row in map(told, lines) if row)

    def key_of(self, run, **what):
        if self.versions is None:
            script = hashlib.sha256(pathlib.Path(self.script).read_bytes()).hexdigest()
            self.versions = {**last_object(run(['python3', '-c', ASK], 60)), 'script': script}
        return {'gpu': self.gpu, **self.versions, **what}

    def find(self, key):
        return self.known.get(json.dumps(key))

    def keep(self, key, figure):
        self.known[json.dumps(key)] = figure
        with open(self.path, 'a') as file:
            file.write(f'\n{json.dumps({"key": key, "figure": figure})}\n')  # one that was broken off has no end of its own

    def measure(self, run, what, steps, most):
        """Images a second and bytes; `run` is given a command and its seconds, and returns what it says."""
        key = self.key_of(run, **what)
        figure = self.find(key)
        if figure is None:
            said = run(['python3', self.script, '--model', what['model'], '--batch', what['batch'], '--dtype', what['dtype'],
                        '--mode', what['mode'], '--steps', steps], most)
            got = last_object(said)
            figure = {name: got[name] for name in ('images_per_second', 'peak_reserved_bytes')}
            self.keep(key, figure)
        return figure
