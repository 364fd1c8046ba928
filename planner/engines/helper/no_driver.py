"""A driver's library that is there and finds no GPU, from the names in cuda.h: what cuDNN 9 wants to load before it answers
for a device that is described to it. Usage: no_driver.py cuda.h out.c"""
import re
import sys

# What compiling for a described device calls and looks at. Handles are never used: nothing runs.
OWN = r'''
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#define NO_DEVICE 100
#define NOT_FOUND 500
static int handle(void **out) { static char nothing; *out = &nothing; return 0; }
static int find(const char *name, void **out) { *out = dlsym(RTLD_DEFAULT, name); return *out ? 0 : NOT_FOUND; }
int cuInit(unsigned flags) { (void)flags; return NO_DEVICE; }
int cuDeviceGetCount(int *count) { *count = 0; return NO_DEVICE; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuGetErrorString(int error, const char **text) { (void)error; *text = "no driver"; return 0; }
int cuGetErrorName(int error, const char **text) { (void)error; *text = "NO_DRIVER"; return 0; }
int cuGetProcAddress(const char *name, void **out) { return find(name, out); }
int cuGetProcAddress_v2(const char *name, void **out) { return find(name, out); }
int cuLibraryLoadData(void **out) { return handle(out); }
int cuLibraryGetKernel(void **out) { return handle(out); }
int cuLibraryGetModule(void **out) { return handle(out); }
int cuKernelGetFunction(void **out) { return handle(out); }
int cuModuleLoadData(void **out) { return handle(out); }
int cuModuleLoadDataEx(void **out) { return handle(out); }
int cuModuleGetFunction(void **out) { return handle(out); }
'''


def main():
    header = open(sys.argv[1], encoding='utf-8').read()
    version = re.search(r'#define CUDA_VERSION (\d+)', header).group(1)
    names = set(re.findall(r'\bcu[A-Z]\w+', re.sub(r'/\*.*?\*/', ' ', header, flags=re.S)))
    names |= {name + suffix for name in names for suffix in ('_ptsz', '_ptds') if not re.search(r'_pt[sd][sz]$', name)}
    names -= set(re.findall(r'\b(cu\w+)\(', OWN))
    with open(sys.argv[2], 'w', encoding='utf-8') as out:
        out.write(OWN.replace('VERSION', version))
        for name in sorted(names):
            out.write(f'int {name}(void) {{ return 0; }}\n')


main()
