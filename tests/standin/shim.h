/* CUDA for g++: the same .cu files run on the host, a block at a time.
 *
 * Every thread of a block is a fibre. A thread that never waits runs to its end as a plain call, and the next one follows on
 * the same stack. One that waits (a barrier, an exchange within its warp) leaves its stack to another, which a seed
 * chooses: so a barrier that is missing shows as a wrong result under some seed; the stand-in, which sees every access, tells
 * of it under any (instrument.c). Blocks run one after the other. In a
 * cooperative launch they wait for each other once: all run to there, then all run the rest (grid.cuh).
 *
 * Not shown: what one block has not done yet when another looks, weak memory order, bank conflicts, time. The shim's own loads
 * and stores are not seen by sanitizers that a kernel is compiled with; those of kernels are. */
#ifndef FATHOM_SHIM_H
#define FATHOM_SHIM_H

#if !defined __x86_64__ || !defined __GNUC__
#error "stacks are switched in assembler for x86-64"
#endif

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "host_kernels.h"

#define __device__
#define __global__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
/* One block runs at a time, so one copy of what a kernel declares is enough. Not in templates: their variables go to other
 * sections, nor in inline functions. */
#define __shared__ static __attribute__((section("host_shared")))
extern "C" __attribute__((visibility("hidden"))) char __start_host_shared[], __stop_host_shared[];

/* Of the shim itself: nobody watches its memory. */
#define SHIM __attribute__((no_sanitize("thread", "address", "undefined"))) static inline

struct dim3_index { unsigned x, y, z; };
struct alignas(16) double2 { double x, y; };

namespace shim {

constexpr size_t stack_bytes = 32768;
constexpr unsigned warp_threads = 32, most_threads = 1024;

struct fibre {
    void *stack_pointer;
    unsigned thread; /* that is running or waiting on it */
};

/* Not of the library, whose code a sanitizer would see. */
struct fibres {
    fibre *at[most_threads];
    unsigned count;
};

/* Where `all` threads meet. */
struct meeting {
    unsigned arrived;
    fibres waiting;
};

/* What the lanes of a warp show each other. */
struct warp {
    meeting meet;
    uint64_t shown[warp_threads];
};

struct block_state {
    unsigned threads, started, done;
    unsigned step, offset; /* the n-th thread to start is (n * step + offset) % threads */
    meeting barrier;
    warp warps[most_threads / warp_threads];
    fibres ready, idle;
    unsigned made; /* fibres in all; the i-th has the i-th stack */
    char *stacks;
    fibre *current;
    void *scheduler;
    const void *arguments;
    void (*kernel)(const void *arguments);
    const char *name;
    uint64_t random;
    bool shuffled;
    unsigned char *shared;
    size_t shared_bytes;
    bool together, waited; /* launched cooperatively; all blocks have come to where they wait */
    host_kernel_now now;
};

static block_state state;
static std::mutex one_kernel;

[[noreturn]] SHIM void fault(const char *what)
{
    std::fprintf(stderr, "kernel %s: %s\n", state.name, what);
    std::abort();
}

} // namespace shim

__shared__ dim3_index threadIdx, blockIdx, blockDim, gridDim;

/* Keeps the registers that a call keeps on the old stack, and takes the new one's. */
extern "C" void shim_switch(void **save, void *to);
asm(".text\n.weak shim_switch\n.type shim_switch, @function\nshim_switch:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
    ".size shim_switch, . - shim_switch\n");

namespace shim {

/* ---- Fibres ---- */

SHIM uint64_t draw()
{
    state.random = state.random * 6364136223846793005ull + 1442695040888963407ull;
    return state.random >> 33;
}

SHIM void add(fibres &to, fibre *one) { to.at[to.count++] = one; }

SHIM void run_thread(unsigned thread)
{
    state.current->thread = thread;
    threadIdx.x = state.now.thread = thread;
    state.kernel(state.arguments);
    state.done++;
}

/* A fibre starts threads until none is left. */
SHIM void fibre_main()
{
    for (;;) {
        while (state.started < state.threads) {
            unsigned n = state.started++;
            run_thread(state.shuffled ? (unsigned)(((uint64_t)n * state.step + state.offset) % state.threads) : n);
            if (state.shuffled && state.ready.count > 0) break; /* others may go on first */
        }
        add(state.idle, state.current);
        shim_switch(&state.current->stack_pointer, state.scheduler);
    }
}

SHIM fibre *fibre_new()
{
    fibre *made = new fibre();
    void **slots = reinterpret_cast<void **>(state.stacks + ++state.made * stack_bytes);
    *--slots = nullptr; /* where fibre_main would return to; and the stack as a call leaves it */
    *--slots = reinterpret_cast<void *>(fibre_main);
    for (int i = 0; i < 6; i++) *--slots = nullptr;
    made->stack_pointer = slots;
    return made;
}

SHIM fibre *take(fibres &from, size_t i)
{
    fibre *taken = from.at[i];
    from.at[i] = from.at[--from.count];
    return taken;
}

/* The next fibre to go on, or one that starts further threads. */
SHIM fibre *choose()
{
    bool start = state.started < state.threads;
    size_t choices = state.ready.count + start;
    if (choices == 0) fault("threads wait where others never come");
    size_t i = state.shuffled ? draw() % choices : start ? choices - 1 : 0;
    if (i < state.ready.count) return take(state.ready, i);
    if (state.idle.count == 0) add(state.idle, fibre_new());
    return take(state.idle, state.idle.count - 1);
}

/* The calling thread goes on when somebody has put its fibre among the ready ones. */
SHIM void wait()
{
    fibre *self = state.current;
    shim_switch(&self->stack_pointer, state.scheduler);
    threadIdx.x = state.now.thread = self->thread;
}

SHIM void meet(meeting &m, unsigned all)
{
    if (++m.arrived < all) {
        add(m.waiting, state.current);
        wait();
        return;
    }
    m.arrived = 0;
    state.now.interval += &m == &state.barrier;
    for (unsigned i = 0; i < m.waiting.count; i++) add(state.ready, m.waiting.at[i]);
    m.waiting.count = 0;
    if (!state.shuffled) return;
    add(state.ready, state.current); /* the last to come need not be the first to go */
    wait();
}

SHIM bool nobody_waits()
{
    bool none = state.barrier.arrived == 0;
    for (const warp &w : state.warps) none = none && w.meet.arrived == 0;
    return none;
}

/* ---- Blocks ---- */

SHIM unsigned greatest_common_divisor(unsigned a, unsigned b) { return b ? greatest_common_divisor(b, a % b) : a; }

SHIM void shuffle_threads()
{
    do state.step = 1 + (unsigned)(draw() % state.threads);
    while (greatest_common_divisor(state.step, state.threads) != 1);
    state.offset = (unsigned)(draw() % state.threads);
}

SHIM void run_block(unsigned x, unsigned y)
{
    blockIdx = {x, y, 0};
    state.started = state.done = 0;
    state.now.interval++;
    if (state.shuffled) shuffle_threads();
    std::memset(state.shared, 0xff, state.shared_bytes); /* not a number, of whatever type */
    while (state.done < state.threads) {
        state.current = choose();
        shim_switch(&state.scheduler, state.current->stack_pointer);
    }
    if (!nobody_waits()) fault("threads left while others wait at a barrier");
}

/* Memory that is taken once: touched where threads wait, and never given back. */
SHIM void prepare_memory()
{
    if (!state.stacks) state.stacks = static_cast<char *>(std::aligned_alloc(4096, most_threads * stack_bytes));
    if (!state.stacks) fault("no memory for its threads' stacks");
    host_kernel_memory(state.stacks, most_threads * stack_bytes);
    host_kernel_shared(state.shared, state.shared_bytes, &state.now);
    host_kernel_shared(__start_host_shared, (size_t)(__stop_host_shared - __start_host_shared), &state.now);
}

SHIM void run_grid(const char *name, void (*kernel)(const void *), const void *arguments, unsigned grid_x,
                   unsigned grid_y, unsigned threads, unsigned shared_bytes, bool together, uint64_t seed)
{
    one_kernel.lock();
    void *shared = std::malloc(shared_bytes + 16);
    if (!shared) fault("no memory for what it shares");
    state.name = name;
    state.kernel = kernel;
    state.arguments = arguments;
    state.threads = threads;
    state.random = seed * 2654435761u + 1;
    state.shuffled = seed != 0;
    state.shared = reinterpret_cast<unsigned char *>((reinterpret_cast<uintptr_t>(shared) + 15) & ~uintptr_t{15});
    state.shared_bytes = shared_bytes;
    state.together = together;
    if (threads == 0 || threads > most_threads) fault("a block of no threads, or of more than 1,024");
    prepare_memory();
    blockDim = {threads, 1, 1};
    gridDim = {grid_x, grid_y, 1};
    for (int part = 0; part < (together ? 2 : 1); part++) {
        state.waited = part > 0;
        for (unsigned y = 0; y < grid_y; y++)
            for (unsigned x = 0; x < grid_x; x++) run_block(x, y);
    }
    std::free(shared);
    one_kernel.unlock();
}

/* ---- A kernel as a row of host_kernels ---- */

template <class Arguments> Arguments argument_type(void (*)(Arguments));

template <auto kernel> SHIM void call(const void *arguments)
{
    using Arguments = decltype(argument_type(kernel));
    kernel(*static_cast<const Arguments *>(arguments));
}

#define HOST_KERNEL(kernel)                                                                                            \
    {                                                                                                                  \
        #kernel,                                                                                                       \
            [](const void *arguments, unsigned grid_x, unsigned grid_y, unsigned threads, unsigned shared_bytes,       \
               bool together, uint64_t seed) {                                                                         \
                shim::run_grid(#kernel, shim::call<kernel>, arguments, grid_x, grid_y, threads, shared_bytes,          \
                               together, seed);                                                                        \
            },                                                                                                         \
            sizeof(decltype(shim::argument_type(kernel)))                                                              \
    }

/* ---- Exchanges ---- */

SHIM unsigned lane() { return threadIdx.x % warp_threads; }
SHIM unsigned warp_size()
{
    unsigned first = threadIdx.x / warp_threads * warp_threads;
    return state.threads - first < warp_threads ? state.threads - first : warp_threads;
}
SHIM warp &own_warp() { return state.warps[threadIdx.x / warp_threads]; }

SHIM void check_mask(unsigned mask)
{
    unsigned size = warp_size();
    if (mask != (size == 32 ? 0xffffffffu : (1u << size) - 1)) fault("exchanges of part of a warp are not known here");
}

/* What `lane` of the warp has; one's own where that lane does not exist. */
template <class T> SHIM T exchange(unsigned mask, T value, unsigned from)
{
    static_assert(sizeof(T) <= sizeof(uint64_t));
    check_mask(mask);
    unsigned size = warp_size(), own = lane();
    warp &w = own_warp();
    std::memcpy(&w.shown[own], &value, sizeof value);
    meet(w.meet, size);
    T got;
    std::memcpy(&got, &w.shown[from < size ? from : own], sizeof got);
    meet(w.meet, size);
    return got;
}

} // namespace shim

/* ---- Blocks that wait for each other, as grid.cuh has it ---- */

SHIM bool grid_arrives() { return !shim::state.waited; }
SHIM uint32_t grid_turn(const uint32_t *) { return 0; }
SHIM bool grid_wait(uint32_t *, uint32_t, bool)
{
    if (!shim::state.together) shim::fault("waits for blocks that need not run at the time");
    return false; /* it comes again when all have been here */
}

/* ---- CUDA's own names ---- */

SHIM void __syncthreads() { shim::meet(shim::state.barrier, shim::state.threads); }

template <class T> SHIM T __shfl_xor_sync(unsigned mask, T value, int bits)
{
    return shim::exchange(mask, value, shim::lane() ^ (unsigned)bits);
}

/* What the launch gave the block. */
SHIM void *shared_memory() { return shim::state.shared; }

/* Blocks run one after the other, so each sees what those before it wrote. */
inline void __threadfence() {}

inline unsigned atomicAdd(unsigned *at, unsigned value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
inline unsigned atomicOr(unsigned *at, unsigned value) { return __atomic_fetch_or(at, value, __ATOMIC_RELAXED); }
inline unsigned atomicExch(unsigned *at, unsigned value) { return __atomic_exchange_n(at, value, __ATOMIC_RELAXED); }

template <class T> inline T __ldcg(const T *at) { return *at; }

inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return (uint64_t)((unsigned __int128)a * b >> 64); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }

inline unsigned __float_as_uint(float value)
{
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- Floats of 16 bits: to nearest, ties to even, as the hardware rounds; NaNs become the one it makes ---- */

struct __half { uint16_t bits; };
struct __nv_bfloat16 { uint16_t bits; };

inline float __half2float(__half half)
{
    unsigned sign = (half.bits & 0x8000u) << 16, exponent = half.bits >> 10 & 31u, fraction = half.bits & 0x3ffu;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | (fraction ? 0x400000u : 0) | fraction << 13);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    return __uint_as_float(sign | __float_as_uint((float)fraction * 0x1p-24f));
}

inline __half __ushort_as_half(unsigned short bits) { return {bits}; }

inline __half __float2half_rn(float value)
{
    unsigned bits = __float_as_uint(value), size = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
    if (size > 0x7f800000u) return {0x7fff};
    if (size >= 0x477ff000u) return {(uint16_t)(sign | 0x7c00u)}; /* from 65,520 on */
    if (size >= 0x38800000u) return {(uint16_t)(sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1)) >> 13)};
    /* Below the smallest normal number: in units of 2^-24, rounded by an addition whose last bit is that unit. */
    return {(uint16_t)(sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - __float_as_uint(0.5f)))};
}

inline float __bfloat162float(__nv_bfloat16 half) { return __uint_as_float((unsigned)half.bits << 16); }

inline __nv_bfloat16 __float2bfloat16_rn(float value)
{
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
    return {(uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

#endif
