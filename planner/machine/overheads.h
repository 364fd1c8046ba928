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
 * by its virtual devices. This and the next two are bounds of what `fathom train` held at its peak (VmHWM) beyond the
 * planned rest, planning included (oneDNN 2.6, two cores): ResNet-8, 20, 29, 110, 164, 18, 34 and 50 at small batches, in
 * f32 and bf16, fused and not, held from 4.5 % less than was planned to as much.
 * tests/trainer/run/memory.c holds the sum to 3 % of a run's peak. */
#if ONEDNN_MAJOR >= 3 /* one figure so far: oneDNN 3.7 on Debian 13 holds 10.5 MiB more under ResNet-20 at 128 */
#define CPU_CONTEXT_BYTES (24 * MIB)
#else
#define CPU_CONTEXT_BYTES (14 * MIB)
#endif
/* Host memory of one prepared op (ResNet-1001 prepares 8,021): its entries in graph, plan and executor. */
#define CPU_OP_BYTES 2304ull
/* Of the kernels that oneDNN compiles for the convolutions of one shape, forward and both gradients, with their
 * descriptions. Fitted to what runs held beyond the rest, in MiB: ResNet-8, 20, 110 (6 shapes) 0.2 to 1.1, 18, 34 (11) 0.7
 * to 1.0, 29, 164 (17) 1.8 to 3.5, 50 (23) 2.8 to 3.3. An upper bound: a run holds no more than its plan says. */
#define CPU_KERNEL_BYTES (232ull << 10)
/* Kept free for the rest of the system, which does not grow with the memory: a sixteenth of a small host's. */
#define CPU_RESERVE_DIVISOR    16
#define CPU_MOST_RESERVE_BYTES (512 * MIB)
#define CPU_WORKSPACE_BYTES (1 * GIB)

#endif
