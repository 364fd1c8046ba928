"""Adds up test cases over meson's logs and prints the closing line: N passed, N failed, N skipped.

A Criterion program counts each of its tests; any other program counts as one."""
import json
import re
import sys

SYNTHESIS = re.compile(r'Synthesis: Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)')
passed = failed = skipped = 0
for path in sys.argv[1:]:
    for line in open(path):
        test = json.loads(line)
        output = re.sub(r'\x1b\[[0-9;]*m', '', test.get('stdout', '') + test.get('stderr', ''))
        found = SYNTHESIS.search(output)
        good = test['result'] in ('OK', 'EXPECTEDFAIL')
        if found:
            skips = len(re.findall(r'^\[SKIP\]', output, re.M))
            ok, bad = int(found.group(2)), int(found.group(3)) + int(found.group(4))
            passed, failed, skipped = passed + ok, failed + bad, skipped + skips
            good = good and ok + bad + skips > 0  # Criterion finds no test, and succeeds, where /proc is not mounted
            if bad == 0 and not good:
                failed += 1  # a sanitizer's report or a time-out after its last test
        elif test['result'] == 'SKIP':
            skipped += 1
        else:
            passed, failed = passed + good, failed + (not good)
        if not good and test['result'] != 'SKIP':
            print(f"--- {test['name']}: {test['result']}\n{output[-6000:]}")
print(f'{passed} passed, {failed} failed, {skipped} skipped')
sys.exit(1 if failed or passed == 0 else 0)
