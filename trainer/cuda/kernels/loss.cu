// Softmax with cross-entropy: a warp for each image, in f32; images are summed in f64.
#include "types.cuh"

#define ALL_LANES 0xffffffffu

__device__ inline float warp_most(float value)
{
    for (int bits = 16; bits; bits /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, value, bits);
        if (other > value) value = other;
    }
    return value;
}

__device__ inline float warp_sum(float value)
{
    for (int bits = 16; bits; bits /= 2) value += __shfl_xor_sync(ALL_LANES, value, bits);
    return value;
}

// Whether class k stands before the label: a larger logit, or an equal one of lower number. What is not a number stands before
// everything, so that a net that has diverged hits nothing.
__device__ inline bool stands_before(float z, uint32_t k, float of_label, uint32_t label)
{
    return k < label ? !(z < of_label) : k > label && !(z <= of_label);
}

template <class T> __device__ inline void loss_of_image(const struct softmax_loss_arguments &a, uint32_t image, uint32_t lane)
{
    const T *z = static_cast<const T *>(a.logits) + (uint64_t)image * a.classes;
    float *probabilities = a.probabilities + (uint64_t)image * a.classes;
    const int32_t label = a.labels[image];
    const bool counts = label >= 0 && (uint32_t)label < a.classes;
    const float of_label = counts ? widen(z[label]) : 0;
    float most = widen(z[0]), sum = 0, before = 0;
    for (uint32_t k = lane; k < a.classes; k += 32)
        if (widen(z[k]) > most) most = widen(z[k]);
    most = warp_most(most);
    for (uint32_t k = lane; k < a.classes; k += 32) {
        sum += expf(widen(z[k]) - most);
        before += counts && stands_before(widen(z[k]), k, of_label, (uint32_t)label) ? 1 : 0;
    }
    sum = warp_sum(sum);
    before = warp_sum(before);
    for (uint32_t k = lane; k < a.classes; k += 32) probabilities[k] = expf(widen(z[k]) - most) / sum;
    // The logits' mean under the target: the label's own without smoothing, as in evaluation.
    const float smoothing = a.trains ? a.step->label_smoothing : 0;
    float all = 0;
    if (smoothing > 0) {
        for (uint32_t k = lane; k < a.classes; k += 32) all += widen(z[k]) - most;
        all = warp_sum(all);
    }
    if (lane != 0) return;
    double target = (double)of_label - (double)most;
    if (smoothing > 0) target = (1 - (double)smoothing) * target + (double)smoothing * ((double)all / a.classes);
    double *own = a.partial + 4 * (uint64_t)image;
    own[0] = counts ? (double)logf(sum) - target : 0;
    own[1] = counts && before < 1 ? 1 : 0;
    own[2] = counts && before < 5 ? 1 : 0;
    own[3] = counts ? 1 : 0;
}

// By one block, to its first thread: thread t's images in order, then threads by a tree.
__device__ inline void sum_images(const struct softmax_loss_arguments &a, double sums[4])
{
    double *all = static_cast<double *>(shared_memory());
    for (int k = 0; k < 4; k++) {
        double sum = 0;
        for (uint32_t i = threadIdx.x; i < a.images; i += KERNEL_THREADS) sum += __ldcg(&a.partial[4 * (uint64_t)i + k]);
        __syncthreads();
        all[threadIdx.x] = sum;
        for (uint32_t half = KERNEL_THREADS / 2; half; half /= 2) {
            __syncthreads();
            if (threadIdx.x < half) all[threadIdx.x] += all[threadIdx.x + half];
        }
        if (threadIdx.x == 0) sums[k] = all[0];
    }
}

template <class T> __device__ inline void softmax_loss(const struct softmax_loss_arguments &a)
{
    const uint32_t warps = gridDim.x * (KERNEL_THREADS / 32), lane = threadIdx.x % 32;
    const uint32_t warp = blockIdx.x * (KERNEL_THREADS / 32) + threadIdx.x / 32;
    double sums[4];
    for (uint32_t image = warp; image < a.images; image += warps) loss_of_image<T>(a, image, lane);
    if (!is_last_block(a.step->counters, gridDim.x)) return;
    sum_images(a, sums);
    if (threadIdx.x != 0) return;
    for (int k = 0; k < 4; k++)
        a.metrics[k] = (float)(a.step->micro_batch == 0 ? sums[k] : (double)a.metrics[k] + sums[k]);
    if (a.trains && !is_finite(a.metrics[0])) a.step->halted = 1;
}

template <class T> __device__ inline void softmax_loss_backward(const struct softmax_loss_backward_arguments &a)
{
    const float smoothing = a.step->label_smoothing, share = smoothing / (float)a.classes;
    const float scale = (a.loss_scale ? *a.loss_scale : 1) / a.divisor;
    const uint64_t count = (uint64_t)a.images * a.classes;
    for (uint64_t i = grid_first(); i < count; i += grid_step()) {
        const uint32_t image = (uint32_t)(i / a.classes), k = (uint32_t)(i - (uint64_t)image * a.classes);
        const int32_t label = a.labels[image];
        const bool counts = label >= 0 && (uint32_t)label < a.classes;
        const float difference = a.probabilities[i] - (k == (uint32_t)label ? 1 - smoothing : 0) - share;
        static_cast<T *>(a.gradient)[i] = narrow<T>(counts ? difference * scale : 0);
    }
}

KERNEL_OF_EACH(softmax_loss, softmax_loss_arguments)
KERNEL_OF_EACH(softmax_loss_backward, softmax_loss_backward_arguments)
