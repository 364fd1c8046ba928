/* Whether the same training would fit a GPU under PyTorch, and with how much room. */
#ifndef FATHOM_TORCH_FORECAST_H
#define FATHOM_TORCH_FORECAST_H

#include "machine.h"
#include "torch_step.h"

/* A PyTorch process beside its allocator's segments. Where all kernels are loaded at once (CUDA before 11.7, or
 * CUDA_MODULE_LOADING=EAGER): PyTorch 1.8 with CUDA 11.1 held 1687 MB on an RTX 3090 with one tensor (pytorch issue 55277),
 * without handles of cuDNN and cuBLAS; fifteen trainings on an A100 (docs/measurements.md) left 1689 to 2345 MiB, in the
 * median 1797, beside the segments that are computed for them. Loaded lazily: about 400 MB (pytorch issue 109888). */
#define TORCH_CONTEXT_BYTES      (UINT64_C(1800) << 20)
#define TORCH_LAZY_CONTEXT_BYTES (UINT64_C(400) << 20)
/* PyTorch's defaults of CUBLAS_WORKSPACE_CONFIG: :4096:2:16:8, from Hopper on :4096:8 (KiB; pytorch issues 95668, 120925). */
#define TORCH_CUBLAS_BYTES        ((UINT64_C(2) * 4096 + 8 * 16) << 10)
#define TORCH_CUBLAS_BYTES_HOPPER ((UINT64_C(8) * 4096) << 10)

enum torch_verdict {
    TORCH_FITS,  /* also when the figure is too low by TORCH_ERROR */
    TORCH_CLOSE, /* neither this nor the other is sure */
    TORCH_UNFIT  /* out of memory even where kernels are loaded lazily and all cached memory is given back */
};

/* Twice the largest error against the measured peaks (docs/measurements.md): 3.0 % too low. */
#define TORCH_ERROR 0.06

struct torch_forecast {
    struct torch_memory memory; /* with as much memory as it asks for */
    uint64_t shown_bytes;       /* at the peak in nvidia-smi: segments and the context with all kernels loaded */
    uint64_t lazy_shown_bytes;  /* the same with kernels loaded as they are used: CUDA from 11.7 on */
    uint64_t usable_bytes;      /* of the device */
    bool fits;                  /* by shown_bytes as it is, whatever its error */
    enum torch_verdict verdict;
};

/* The context and cuBLAS's workspace are those of the device; workspace: torch_workspace_estimate over it, or what cuDNN was
 * asked. ERROR_INPUT for a device that is no GPU; ERROR_MEMORY. */
bool torch_forecast_make(const struct model_spec *spec, uint32_t batch, enum dtype dtype, const struct device_spec *device,
                         torch_workspace_fn workspace, void *workspace_context, struct torch_forecast *forecast,
                         struct error *err);

#endif
