"""What `fathom devices` draws of a host with GPUs and without, and what plans for it count on: from recorded hosts, with NVLinks
of a management library that is the tests' own."""
import json
import os
import pathlib
import sys
import tempfile

from commands import expect, finish, run

SOURCE = pathlib.Path(sys.argv[2])
NVML = pathlib.Path(sys.argv[3]).resolve()


def host(folder, links=None):
    """The environment of eight GPUs on two sockets, of which no CUDA tells."""
    told = {**os.environ, 'HWLOC_XMLFILE': str(SOURCE / 'tests/machines/two-sockets-eight-h100.xml'), 'CUDA_HOME': str(folder)}
    if links:
        (folder / 'libnvidia-ml.so.1').unlink(missing_ok=True)
        (folder / 'libnvidia-ml.so.1').symlink_to(NVML)
        told |= {'LD_LIBRARY_PATH': str(folder), 'FATHOM_NVML_LINKS': links}
    return told


def check_page(folder):
    page = run('devices', env=host(folder)).stdout
    for line in ('  ├─ package 0: Intel(R) Xeon(R) Platinum 8480C, 2 cores', '  │  └─ NUMA node 0: 1.00 TiB, 2 cores',
                 '        │     ├─ GPU 4: H100 SXM5 80GB, 0000:53:00.0, 63.0 GB/s',
                 '              └─ network ib7, mlx5_7: 0000:76:00.0, 63.0 GB/s',
                 '  GPU 0       -  PIX NODE NODE  SYS  SYS  SYS  SYS  ib0, mlx5_0'):
        expect(line + '\n' in page, f'not drawn: {line!r} in {page}')
    expect(all(len(line) <= 80 for line in page.splitlines()), 'a line of more than 80 columns')
    expect('NVML is not there' in page, page)
    page = run('devices', env=host(folder, 'switch*18')).stdout
    expect('  GPU 7    NV18 NV18 NV18 NV18 NV18 NV18 NV18    -  ib7, mlx5_7\n' in page, page)


def check_json(folder):
    told = json.loads(run('devices', '--json', env=host(folder, '0000:13:00.0=0000:14:00.0*4')).stdout)['host']
    expect(told['gpus'] == [] and len(told['unusable_gpus']) == 8 and told['cuda_fault'], f'CUDA sees none: {told["gpus"]}')
    kinds = [place['kind'] for place in told['topology']]
    expect(kinds.count('gpu') == 8 and kinds.count('network') == 8 and kinds.count('package') == 2, f'{kinds}')
    expect(told['topology'][0]['parent'] is None and all(p['parent'] < i for i, p in enumerate(told['topology']) if i), 'a tree')
    links = {(link['from'], link['to']): link for link in told['links']}
    expect(len(links) == 28, f'{len(links)} links')
    expect(links[0, 1]['path'] == 'nvlink' and links[0, 1]['nvlinks'] == 4, f'{links[0, 1]}')
    expect(abs(links[0, 1]['link_bandwidth'] - 4 * 20.6e9) < 1e6, f'{links[0, 1]}')
    expect(links[2, 3]['path'] == 'switch' and links[2, 3]['nvlinks'] == 0, f'{links[2, 3]}')
    expect(links[3, 4]['path'] == 'system' and links[3, 4]['link_bandwidth'] == 22e9, f'{links[3, 4]}')


def planned(environment, *more):
    done = run('plan', 'resnet-20', '--gpus', 'auto', '--batch', 256, '--json', *more, env=environment)
    expect(done.returncode == 0, done.stderr)
    return json.loads(done.stdout)['all_reduce'] if done.returncode == 0 else {}


def check_plans(folder):
    """All-reduce goes over what is there: NVLinks that are seen, slots where the cards have none."""
    sold, found = planned(host(folder)), planned(host(folder, 'switch*18'))
    few = planned(host(folder, '0000:13:00.0=0000:14:00.0*4'))
    expect(sold['link_path'] is None and abs(sold['link_bandwidth'] - 360e9) < 1e6, f'as sold: {sold}')
    expect(found['link_path'] == 'nvlink' and abs(found['link_bandwidth'] - 18 * 20.6e9) < 1e6, f'switched: {found}')
    expect(few['link_path'] == 'system' and few['link_bandwidth'] == 22e9, f'over sockets: {few}')
    expect(few['seconds'] > found['seconds'], f'{few} is as fast as {found}')
    half = planned(host(folder, 'switch*18'), '--reduce-dtype', 'bf16', '--reduce-memory', 'arena')
    expect(found['apart'] and found['dtype'] == 'f32' and not half['apart'] and half['dtype'] == 'bf16', f'{found}, {half}')
    expect(2 * half['bucket_bytes'] == found['bucket_bytes'] and half['seconds'] < found['seconds'], f'{half} beside {found}')
    file = folder / 'machine.json'
    done = run('devices', '--gpus', 'auto', '-o', file, env=host(folder, '0000:13:00.0=0000:14:00.0*4'))
    expect(done.returncode == 0 and json.loads(file.read_text())['link']['path'] == 'system', done.stderr)
    told = json.loads(run('plan', 'resnet-20', '--gpus', file, '--batch', 256, '--json').stdout)['all_reduce']
    expect(told == few, f'{told} by the machine file, {few} on the host')


def check_machine_files(folder):
    file = folder / 'bridged.json'
    for path, link in (('switch', 21e9), ('system', 10e9), ('nvlink', 21e9)):
        file.write_text(json.dumps({'version': 1, 'devices': [{'name': 'l40s', 'memory_bytes': 48 << 30, 'count': 2}], 'link': {'path': path}}))
        told = json.loads(run('plan', 'resnet-20', '--gpus', file, '--batch', 256, '--json').stdout)['all_reduce']
        expect(told['link_path'] == path and abs(told['link_bandwidth'] - link) < 1e6, f'{path}: {told}')
    file.write_text('{"version": 1, "devices": [{"name": "t4", "memory_bytes": 17179869184}], "link": {"path": "air"}}')
    done = run('plan', 'resnet-20', '--gpus', file)
    expect(done.returncode == 2 and "'air'" in done.stderr and 'nvlink' in done.stderr, f'{done.returncode}: {done.stderr}')


def check_no_gpu():
    made = {**os.environ, 'HWLOC_SYNTHETIC': 'pack:2 [numa(memory=1GB)] core:3 pu:2'}
    page = run('devices', env=made).stdout
    expect('topology\n  host\n  ├─ package 0: a processor, 3 cores\n' in page and 'between' not in page.split('catalogue')[0], page)


with tempfile.TemporaryDirectory() as name:
    check_page(pathlib.Path(name))
    check_json(pathlib.Path(name))
    check_plans(pathlib.Path(name))
    check_machine_files(pathlib.Path(name))
    check_no_gpu()
sys.exit(finish('checks of what hangs where'))
