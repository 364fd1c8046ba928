// How weights move, by the formulas of torch.optim (PyTorch 2); trainer/cpu/reference_update.c says whose they are. All in
// f32; what a step has in common is computed in f64 and rounded once.
#include "types.cuh"

// The numbers of a step, for one piece.
struct rule {
    float rate, decay, kept, unscale, momentum, towards, beta2, rest2, root, epsilon;
    bool nesterov;
};

// By products alone, as on the CPU.
__device__ inline double power(double base, uint64_t exponent)
{
    double result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

// torch.nn.utils.clip_grad_norm_, its 1e-6 included.
__device__ inline double clip_factor(const struct update_arguments &a, double scale)
{
    const double most = a.step->clip_norm;
    if (!a.norm || most <= 0) return 1;
    const double factor = most / (sqrt(*a.norm) / scale + 1e-6);
    return factor < 1 ? factor : 1;
}

__device__ inline rule rule_of(const struct update_arguments &a, bool decays)
{
    const struct step_block &s = *a.step;
    const double scale = a.loss_scale ? a.loss_scale[0] : 1;
    const bool decoupled = s.optimizer == KERNEL_ADAMW;
    rule r = {s.learning_rate, decoupled || !decays ? 0 : s.weight_decay, 1, (float)(clip_factor(a, scale) / scale),
              s.momentum, (float)(1 - s.beta1), (float)s.beta2, (float)(1 - s.beta2), 1, s.epsilon, s.nesterov != 0};
    if (decoupled && decays) r.kept = (float)(1 - (double)s.learning_rate * (double)s.weight_decay);
    if (s.optimizer != KERNEL_ADAM && !decoupled) return r;
    const uint64_t steps = s.number + 1 - (a.loss_scale ? (uint64_t)a.loss_scale[3] : 0);
    r.rate = (float)((double)s.learning_rate / (1 - power(s.beta1, steps)));
    r.root = (float)sqrt(1 - power(s.beta2, steps));
    return r;
}

// One weight, its gradient, decay added, and what is kept of it.
template <int O> __device__ inline void move_weight(const rule &r, float &w, float g, float &x, float &y)
{
    if (O == KERNEL_MOMENTUM) {
        x = r.momentum * x + g;
        w -= r.rate * (r.nesterov ? g + r.momentum * x : x);
    } else if (O == KERNEL_SGD) {
        w -= r.rate * g;
    } else if (O == KERNEL_RMSPROP || O == KERNEL_RMSPROP_MOMENTUM) {
        x = r.beta2 * x + r.rest2 * g * g;
        const float step = g / (sqrtf(x) + r.epsilon);
        if (O == KERNEL_RMSPROP_MOMENTUM) y = r.momentum * y + step;
        w -= r.rate * (O == KERNEL_RMSPROP_MOMENTUM ? y : step);
    } else if (O == KERNEL_ADAGRAD) {
        x += g * g;
        w -= r.rate * (g / (sqrtf(x) + r.epsilon));
    } else if (O == KERNEL_ADADELTA) {
        x = r.beta2 * x + r.rest2 * g * g;
        const float delta = sqrtf(y + r.epsilon) / sqrtf(x + r.epsilon) * g;
        y = r.beta2 * y + r.rest2 * delta * delta;
        w -= r.rate * delta;
    } else { // Adam, AdamW
        w *= r.kept;
        x += r.towards * (g - x);
        y = r.beta2 * y + r.rest2 * g * g;
        w -= r.rate * (x / (sqrtf(y) / r.root + r.epsilon));
    }
}

template <int O, int V> __device__ inline void move_some(const struct update_arguments &a, const rule &r, uint64_t i)
{
    float w[V], g[V], x[V], y[V];
    load<float, V>(a.weights, i, w);
    load<float, V>(a.gradients, i, g);
    if (O != KERNEL_SGD) load<float, V>(a.state[0], i, x);
    const bool second = O == KERNEL_RMSPROP_MOMENTUM || O == KERNEL_ADADELTA || O == KERNEL_ADAM;
    if (second) load<float, V>(a.state[1], i, y);
#pragma unroll
    for (int k = 0; k < V; k++) move_weight<O>(r, w[k], r.unscale * g[k] + r.decay * w[k], x[k], y[k]);
    store<float, V>(a.weights, i, w);
    if (O != KERNEL_SGD) store<float, V>(a.state[0], i, x);
    if (second) store<float, V>(a.state[1], i, y);
}

template <int O> __device__ inline void move_piece(const struct update_arguments &a, const rule &r)
{
    const uint64_t first = a.pieces[blockIdx.x].first;
    const uint32_t count = a.pieces[blockIdx.x].count & ~KERNEL_PIECE_DECAYS, whole = count / 4;
    for (uint32_t i = threadIdx.x; i < whole; i += blockDim.x) move_some<O, 4>(a, r, first + 4 * i);
    for (uint32_t i = 4 * whole + threadIdx.x; i < count; i += blockDim.x) move_some<O, 1>(a, r, first + i);
}

extern "C" __global__ void KERNEL_BOUNDS update(const struct update_arguments a)
{
    __shared__ rule r;
    const bool weights = a.pieces[blockIdx.x].count & KERNEL_PIECE_DECAYS;
    if (a.step->halted || (a.loss_scale && a.loss_scale[2] != 0)) return;
    if (threadIdx.x == 0) r = rule_of(a, weights || !a.step->spares_bn);
    __syncthreads();
    switch (a.step->optimizer) {
    case KERNEL_MOMENTUM: move_piece<KERNEL_MOMENTUM>(a, r); break;
    case KERNEL_SGD: move_piece<KERNEL_SGD>(a, r); break;
    case KERNEL_RMSPROP: move_piece<KERNEL_RMSPROP>(a, r); break;
    case KERNEL_RMSPROP_MOMENTUM: move_piece<KERNEL_RMSPROP_MOMENTUM>(a, r); break;
    case KERNEL_ADAGRAD: move_piece<KERNEL_ADAGRAD>(a, r); break;
    case KERNEL_ADADELTA: move_piece<KERNEL_ADADELTA>(a, r); break;
    default: move_piece<KERNEL_ADAM>(a, r); break;
    }
}
