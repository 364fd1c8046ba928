/* Tensors of an eager framework: storages with a count of who holds them, in PyTorch's allocator. */
#ifndef FATHOM_TORCH_TENSORS_H
#define FATHOM_TORCH_TENSORS_H

#include "torch_allocator.h"

#define NO_STORAGE UINT32_MAX

struct torch_storage {
    uint64_t bytes; /* as asked for */
    uint32_t block;
    uint32_t holders; /* 0: an unused entry */
    uint32_t saved;   /* of them, autograd's */
};

struct torch_tensors {
    struct torch_allocator allocator;
    struct torch_storage *storages;
    size_t count, capacity;
    uint32_t *unused;
    size_t unused_count, unused_capacity;
    uint64_t live_bytes, peak_live_bytes; /* as they were asked for */
    uint64_t saved_bytes; /* of storages that autograd holds */
    bool out_of_memory;
};

/* A storage with one holder. False with *err untouched when the allocator has no more (tensors->out_of_memory). */
bool torch_tensors_make(struct torch_tensors *tensors, uint64_t bytes, uint32_t *storage, struct error *err);
/* One holder more. Takes NO_STORAGE, as the next. */
void torch_tensors_hold(struct torch_tensors *tensors, uint32_t storage);
/* One holder less, and *storage is NO_STORAGE; without any its block is free. */
bool torch_tensors_drop(struct torch_tensors *tensors, uint32_t *storage, struct error *err);
/* The same for autograd's. */
void torch_tensors_save(struct torch_tensors *tensors, uint32_t storage);
bool torch_tensors_release(struct torch_tensors *tensors, uint32_t *storage, struct error *err);
/* A tensor that is gone before the next one is made. */
bool torch_tensors_pass(struct torch_tensors *tensors, uint64_t bytes, struct error *err);
void torch_tensors_finish(struct torch_tensors *tensors);

#endif
