#!/bin/sh
# Runs a test with the sanitizers' reports in files and fails when one is not empty: Criterion's child processes swallow
# late exit codes, so a leak would pass otherwise.
reports=$(mktemp -d) || exit 99
trap 'rm -rf "$reports"' EXIT
here=$(dirname "$0")
export ASAN_OPTIONS="log_path=$reports/asan:detect_leaks=1:detect_stack_use_after_return=0:allocator_may_return_null=1"
export UBSAN_OPTIONS="log_path=$reports/ubsan:print_stacktrace=1"
export LSAN_OPTIONS="suppressions=$here/leaks.supp:print_suppressions=0"
# Loading the host's topology leaks a kilobyte inside libpciaccess, whose code is gone from memory when it is reported.
export HWLOC_PLUGINS_BLACKLIST=hwloc_pci.so
export TSAN_OPTIONS="log_path=$reports/tsan"
"$@"
code=$?
for report in "$reports"/*; do
    [ -s "$report" ] || continue
    cat "$report" >&2
    [ "$code" -ne 0 ] || code=1
done
exit "$code"
