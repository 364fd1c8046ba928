/* What lies outside the tensors, in one place. Each is a default: `fathom devices --calibrate` measures a GPU's context, and
 * a machine file may state its own. */
#ifndef FATHOM_OVERHEADS_H
#define FATHOM_OVERHEADS_H

#define MIB (1ull << 20)
#define GIB (1ull << 30)

/* CUDA context with lazy loading (CUDA_MODULE_LOADING=LAZY, the default since 11.7): about 300 MB
 * (github.com/pytorch/pytorch/issues/107667; it was over 1 GB before). */
#define CUDA_CONTEXT_BYTES (300 * MIB)
/* What kernels and libraries keep on the device. As much as cuBLAS does, one workspace per handle and stream: 32 MiB on
 * Hopper and later, about 8 MiB before (pytorch issues 120925 and 95668). The trainer has no cuBLAS; the scratch of its own
 * kernels (8 MiB, trainer/cuda) is in these. */
#define LIBRARY_BYTES        (8 * MIB)
#define LIBRARY_BYTES_HOPPER (32 * MIB)
/* NCCL: 4 MiB (NCCL_BUFFSIZE) per channel (nccl issue 391), one to send from and one to receive into. */
#define NCCL_CHANNEL_BYTES   (2 * 4 * MIB)
#define NCCL_CHANNELS_PCIE   16
#define NCCL_CHANNELS_NVLINK 32
/* A margin on top of what the driver holds back: its pages are 2 MiB, and each library's pool leaves one open. */
#define GPU_MARGIN_BYTES (64 * MIB)
/* A GPU known by its size alone: cards without ECC report 0.7 to 2.2 % less than is printed on the box. */
#define GENERIC_RESERVE_DIVISOR 32
/* Convolutions gain nothing from more: ResNet-18's forward pass took 9.8 ms with 8 MB, 5.2 with 128, no less with 256
 * (github.com/sonots/cumo/pull/502). */
#define GPU_WORKSPACE_BYTES (128 * MIB)

/* Host memory of the process beside its arenas and the loader's batches: code, libraries, thread stacks, tables; shared
 * by its virtual devices. Together with the next figure fitted to what `fathom train` held at its peak (VmHWM) beyond
 * the planned rest, two steps and an evaluation each: ResNet-8, 20 (batch 8 and 128, also on two devices), 56, 110, 164
 * and 1001 left 13.1, 13.4, 13.4, 13.5, 13.8, 14.1, 17.6 and 25.3 MiB (oneDNN 2.6, two cores).
 * tests/trainer/run/memory.c holds the sum to 3 % of a run's peak. */
#if ONEDNN_MAJOR >= 3 /* one figure so far: oneDNN 3.7 on Debian 13 holds 10.5 MiB more under ResNet-20 at 128 */
#define CPU_CONTEXT_BYTES (24 * MIB)
#else
#define CPU_CONTEXT_BYTES (27 * MIB / 2)
#endif
/* Host memory of one prepared op (ResNet-1001 prepares 8,021): its entry in the executor, the library's primitive. */
#define CPU_OP_BYTES 1536ull
/* Kept free for the rest of the system, which does not grow with the memory: a sixteenth of a small host's. */
#define CPU_RESERVE_DIVISOR    16
#define CPU_MOST_RESERVE_BYTES (512 * MIB)
#define CPU_WORKSPACE_BYTES (1 * GIB)

#endif
