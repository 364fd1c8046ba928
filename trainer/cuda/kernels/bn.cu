// Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167), whole and taken apart.
#include "bn.cuh"
#include "columns.cuh"
#include "grid.cuh"

// ---- Statistics ----

__device__ inline void write_pair(void *sums, bool single, uint32_t channels, uint32_t c, double2 sum)
{
    if (single) {
        static_cast<float *>(sums)[c] = (float)sum.x;
        static_cast<float *>(sums)[channels + c] = (float)sum.y;
    } else {
        static_cast<double *>(sums)[c] = sum.x;
        static_cast<double *>(sums)[channels + c] = sum.y;
    }
}

__device__ inline double2 read_pair(const void *sums, bool single, uint32_t channels, uint32_t c)
{
    if (single) return {static_cast<const float *>(sums)[c], static_cast<const float *>(sums)[channels + c]};
    return {static_cast<const double *>(sums)[c], static_cast<const double *>(sums)[channels + c]};
}

struct moments { double mean, variance; };

// Rounding must not make a variance negative. What is not a number stays so.
__device__ inline moments moments_of(double2 sums, double rows)
{
    const double mean = sums.x / rows, variance = sums.y / rows - mean * mean;
    return {mean, variance < 0 ? 0 : variance};
}

// Running statistics move towards the batch's, or group by group towards the mean of its groups'; the variance there is the
// unbiased one.
__device__ inline void move_running(float *mean, float *variance, uint32_t c, moments batch, double rows, float momentum,
                                    uint32_t group = 0, uint32_t groups = 1)
{
    const double unbias = rows > 1 ? rows / (rows - 1) : 1;
    const float stays = group == 0 ? 1 - momentum : 1, m = momentum / (float)groups;
    mean[c] = stays * mean[c] + m * (float)batch.mean;
    variance[c] = stays * variance[c] + m * (float)(batch.variance * unbias);
}

// Sums of x - s and of its square in f32, where s is x in the block's first row: no large mean can swamp the differences.
template <class T, int V> __device__ inline bool take_sums(const struct bn_sums_arguments &a)
{
    const struct kernel_columns &c = a.columns;
    const place at = place_of(c);
    const uint32_t begin = first_row(c), end = last_row(c);
    float shift[V] = {}, first[V] = {}, second[V] = {};
    if (at.works) load<T, V>(a.x, (uint64_t)begin * c.channels + at.channel, shift);
    constexpr int R = rows_at_a_time<T, V, 128>;
#pragma unroll 1
    for (uint32_t row = begin + at.lane; at.works && row < end; row += R * c.lanes) {
        packed<T, V> rows[R];
        load_rows<T, V, R>(a.x, c, at, row, end, rows);
#pragma unroll
        for (int r = 0; r < R; r++) {
            float x[V];
            if (row + r * c.lanes >= end) break;
            widen(rows[r], x);
#pragma unroll
            for (int k = 0; k < V; k++) {
                const float difference = x[k] - shift[k];
                first[k] += difference;
                second[k] = fmaf(difference, difference, second[k]);
            }
        }
    }
    sum_lanes<V>(c, at, first, second);
    double2 own[V];
    const double rows = end - begin;
    for (int k = 0; k < V; k++) {
        const double s = shift[k];
        own[k] = {rows * s + first[k], second[k] + s * (2.0 * first[k] + rows * s)};
    }
    return finish_sums<V>(c, at, own, a.partial, a.step, [&](uint32_t channel, double2 sum) {
        if (a.total) {
            a.total[channel] = (float)sum.x;
            return;
        }
        if (a.sums) {
            write_pair(a.sums, a.single, c.channels, channel, sum);
            return;
        }
        const moments batch = moments_of(sum, c.rows);
        a.mean[channel] = (float)batch.mean;
        a.variance[channel] = (float)batch.variance;
        move_running(a.running_mean, a.running_variance, channel, batch, c.rows, a.step->bn_momentum, a.group, a.groups);
    });
}

template <class T> __device__ inline void bn_sums(const struct bn_sums_arguments &a)
{
    if (a.columns.width == 8)
        take_sums<T, 8>(a);
    else
        take_sums<T, 1>(a);
}

__device__ inline void write_norm(const struct bn_finalize_arguments &a, uint32_t c, float mean, float inverse)
{
    const float scale = a.gamma[c] * inverse, bias = a.beta[c] - mean * scale;
    float *prologue = a.norm + BN_ROW_PROLOGUE * a.channels;
    a.norm[BN_ROW_MEAN * a.channels + c] = mean;
    a.norm[BN_ROW_INVERSE_DEVIATION * a.channels + c] = inverse;
    a.norm[BN_ROW_GAMMA * a.channels + c] = a.gamma[c];
    a.norm[BN_ROW_BETA * a.channels + c] = a.beta[c];
    if (a.half_prologue) {
        reinterpret_cast<f16 *>(prologue)[c] = narrow<f16>(scale);
        reinterpret_cast<f16 *>(prologue)[a.channels + c] = narrow<f16>(bias);
    } else {
        prologue[c] = scale;
        prologue[a.channels + c] = bias;
    }
}

extern "C" __global__ void KERNEL_BOUNDS bn_finalize(struct bn_finalize_arguments a)
{
    const uint32_t c = (uint32_t)grid_first();
    if (c >= a.channels) return;
    if (!a.sums) {
        write_norm(a, c, a.running_mean[c], 1 / sqrtf(a.running_variance[c] + a.epsilon));
        return;
    }
    const moments batch = moments_of(read_pair(a.sums, a.single, a.channels, c), (double)a.rows);
    write_norm(a, c, (float)batch.mean, 1 / sqrtf((float)batch.variance + a.epsilon));
    move_running(a.running_mean, a.running_variance, c, batch, (double)a.rows, a.step->bn_momentum);
}

// ---- Normalising ----

template <class T, int V>
__device__ inline void apply_to(const struct bn_apply_arguments &a, uint64_t element, const channel_normal n[V],
                                const packed<T, V> &row, const packed<T, V> &other_row)
{
    float x[V], other[V];
    uint32_t open = 0;
    widen(row, x);
    widen(other_row, other);
#pragma unroll
    for (int k = 0; k < V; k++) {
        x[k] = normalized(x[k], n[k].mean, n[k].scale, n[k].beta);
        if (a.other) x[k] += other[k];
        const bool shut = x[k] <= 0; // not what is not a number
        open |= shut ? 0 : 1u << k;
        if (a.relu && shut) x[k] = 0;
    }
    store<T, V>(a.y, element, x);
    if (V == 8 && a.mask) a.mask[element / 8] = (uint8_t)open;
}

template <class T, int V> __device__ inline void apply(const struct bn_apply_arguments &a)
{
    const struct kernel_columns &c = a.columns;
    const place at = place_of(c);
    if (!at.works) return;
    channel_normal n[V];
#pragma unroll
    for (int k = 0; k < V; k++) n[k] = channel_normal_of(a.normal, at.channel + k);
    const uint32_t end = last_row(c);
    constexpr int R = rows_at_a_time<T, V, 64>;
#pragma unroll 1
    for (uint32_t row = first_row(c) + at.lane; row < end; row += R * c.lanes) {
        packed<T, V> rows[R], others[R] = {};
        load_rows<T, V, R>(a.x, c, at, row, end, rows);
        if (a.other) load_rows<T, V, R>(a.other, c, at, row, end, others);
#pragma unroll
        for (int r = 0; r < R; r++)
            if (row + r * c.lanes < end)
                apply_to<T, V>(a, (uint64_t)(row + r * c.lanes) * c.channels + at.channel, n, rows[r], others[r]);
    }
}

template <class T> __device__ inline void bn_apply(const struct bn_apply_arguments &a)
{
    if (a.columns.width == 8)
        apply<T, 8>(a);
    else
        apply<T, 1>(a);
}

template <class T> __device__ inline void bn_mask(const struct bn_mask_arguments &a)
{
    for (uint64_t byte = grid_first(); byte < (a.count + 7) / 8; byte += grid_step()) {
        uint32_t open = 0;
        for (uint64_t k = 0; k < 8 && byte * 8 + k < a.count; k++)
            open |= widen(static_cast<const T *>(a.y)[byte * 8 + k]) <= 0 ? 0 : 1u << k;
        a.mask[byte] = (uint8_t)open;
    }
}

// ---- Gradients ----

// Which of V elements ReLU let through, by their bits in the mask.
template <int V> __device__ inline uint32_t open_in(const uint8_t *mask, uint64_t element)
{
    return V == 8 ? mask[element / 8] : mask[element / 8] >> element % 8 & 1;
}

// Of the rows that load_rows reads.
template <int V, int R>
__device__ inline void load_open(uint32_t shut, const uint8_t *mask, uint32_t bit, const struct kernel_columns &c,
                                 const place &at, uint32_t row, uint32_t end, uint32_t open[R])
{
#pragma unroll
    for (int r = 0; r < R; r++) {
        open[r] = 0xff;
        if (shut == KERNEL_SHUT_BY_MASK && row + r * c.lanes < end)
            open[r] = open_in<V>(mask, (uint64_t)(row + r * c.lanes) * c.channels + at.channel + bit);
    }
}

template <class T, int V> __device__ inline bool take_gradient_sums(const struct bn_backward_sums_arguments &a)
{
    const struct kernel_columns &c = a.columns;
    const place at = place_of(c);
    const uint32_t end = last_row(c);
    channel_normal n[V] = {};
    float first[V] = {}, second[V] = {};
#pragma unroll
    for (int k = 0; k < V; k++)
        if (at.works) n[k] = channel_normal_of(a.normal, at.channel + k);
    constexpr int R = rows_at_a_time<T, V, 64>;
#pragma unroll 1
    for (uint32_t row = first_row(c) + at.lane; at.works && row < end; row += R * c.lanes) {
        packed<T, V> rows[R], dy_rows[R];
        uint32_t open[R];
        load_rows<T, V, R>(a.x, c, at, row, end, rows);
        load_rows<T, V, R>(a.dy, c, at, row, end, dy_rows);
        load_open<V, R>(a.shut, a.mask, a.mask_bit, c, at, row, end, open);
#pragma unroll
        for (int r = 0; r < R; r++) {
            float x[V], dy[V];
            if (row + r * c.lanes >= end) break;
            widen(rows[r], x);
            widen(dy_rows[r], dy);
#pragma unroll
            for (int k = 0; k < V; k++) {
                if (a.shut == KERNEL_SHUT_BY_SIGN && normalized(x[k], n[k].mean, n[k].scale, n[k].beta) <= 0) dy[k] = 0;
                if (!(open[r] >> k & 1)) dy[k] = 0;
                first[k] += dy[k];
                second[k] = fmaf(dy[k], (x[k] - n[k].mean) * n[k].inverse, second[k]);
            }
        }
    }
    sum_lanes<V>(c, at, first, second);
    double2 own[V];
    for (int k = 0; k < V; k++) own[k] = {first[k], second[k]};
    return finish_sums<V>(c, at, own, a.partial, a.step, [&](uint32_t channel, double2 sum) {
        if (a.sums) {
            write_pair(a.sums, a.single, c.channels, channel, sum);
            return;
        }
        a.dbeta[channel] = (float)sum.x;
        a.dgamma[channel] = (float)sum.y;
    });
}

template <class T> __device__ inline void bn_backward_sums(const struct bn_backward_sums_arguments &a)
{
    if (a.columns.width == 8)
        take_gradient_sums<T, 8>(a);
    else
        take_gradient_sums<T, 1>(a);
}

extern "C" __global__ void KERNEL_BOUNDS
    bn_backward_finalize(struct bn_backward_finalize_arguments a)
{
    const uint32_t c = (uint32_t)grid_first(), n = a.channels;
    if (c >= n) return;
    const double2 none = {0, 0};
    const double2 sum = a.sums ? read_pair(a.sums, a.single, n, c) : none;
    const double2 own = a.own ? read_pair(a.own, a.single, n, c) : none;
    const float inverse = a.norm[BN_ROW_INVERSE_DEVIATION * n + c];
    const channel_normal normal = {a.norm[BN_ROW_MEAN * n + c], inverse, a.norm[BN_ROW_GAMMA * n + c] * inverse,
                                   a.norm[BN_ROW_BETA * n + c]};
    const channel_coefficients to = make_coefficients(normal, (float)sum.y, (float)sum.x, (float)a.rows);
    if (a.own) a.dbeta[c] = (float)own.x;
    if (a.own) a.dgamma[c] = (float)own.y;
    a.coefficients[c] = to.scale;
    a.coefficients[n + c] = to.shift;
    a.coefficients[2 * n + c] = to.slope;
    a.coefficients[3 * n + c] = to.mean;
    a.coefficients[4 * n + c] = to.beta;
}

__device__ inline channel_coefficients coefficients_of(const struct bn_backward_apply_arguments &a, uint32_t c)
{
    const channel_normal normal = channel_normal_of(a.normal, c);
    if (a.rows == 0) return make_coefficients(normal, 0, 0, 0);
    if (!a.sums) return make_coefficients(normal, a.dgamma[c], a.dbeta[c], (float)a.rows);
    const double2 sum = read_pair(a.sums, a.single, a.columns.channels, c);
    return make_coefficients(normal, (float)sum.y, (float)sum.x, (float)a.rows);
}

// Gradients of gamma and beta, by the blocks of the first rows.
template <int V> __device__ inline void write_parameters(const struct bn_backward_apply_arguments &a, const place &at)
{
    if (!a.sums || blockIdx.x != 0 || at.lane != 0) return;
    for (uint32_t c = at.channel; c < at.channel + V; c++) {
        const double2 own = read_pair(a.own, a.single, a.columns.channels, c);
        a.dbeta[c] = a.adds ? a.dbeta[c] + (float)own.x : (float)own.x;
        a.dgamma[c] = a.adds ? a.dgamma[c] + (float)own.y : (float)own.y;
    }
}

template <class T, int V>
__device__ inline void apply_backward_to(const struct bn_backward_apply_arguments &a, uint64_t element,
                                         const channel_coefficients n[V], const packed<T, V> &row,
                                         const packed<T, V> &dy_row, const packed<T, V> &other_row, uint32_t open)
{
    float x[V], y[V], dy[V], other[V];
    widen(row, x);
    widen(dy_row, dy);
    widen(other_row, other);
#pragma unroll
    for (int k = 0; k < V; k++) {
        y[k] = normalized(x[k], n[k].mean, n[k].scale, n[k].beta);
        if (a.shut == KERNEL_SHUT_BY_SIGN && y[k] <= 0) y[k] = dy[k] = 0;
        if (!(open >> k & 1)) dy[k] = 0;
        x[k] = gradient_through(x[k], dy[k], n[k]) + other[k];
    }
    store<T, V>(a.dx, element, x);
    if (a.y) store<T, V>(a.y, element, y);
}

template <class T, int V> __device__ inline void apply_backward(const struct bn_backward_apply_arguments &a)
{
    const struct kernel_columns &c = a.columns;
    const place at = place_of(c);
    if (!at.works) return;
    channel_coefficients n[V];
#pragma unroll
    for (int k = 0; k < V; k++) n[k] = coefficients_of(a, at.channel + k);
    write_parameters<V>(a, at);
    const uint32_t end = last_row(c);
    constexpr int R = rows_at_a_time<T, V, sizeof(T) == 2 ? 48 : 64>;
#pragma unroll 1
    for (uint32_t row = first_row(c) + at.lane; row < end; row += R * c.lanes) {
        packed<T, V> rows[R], dy_rows[R], others[R] = {};
        uint32_t open[R];
        load_rows<T, V, R>(a.x, c, at, row, end, rows);
        load_rows<T, V, R>(a.dy, c, at, row, end, dy_rows);
        if (a.other) load_rows<T, V, R>(a.other, c, at, row, end, others);
        load_open<V, R>(a.shut, a.mask, a.mask_bit, c, at, row, end, open);
#pragma unroll
        for (int r = 0; r < R; r++) {
            const uint64_t element = (uint64_t)(row + r * c.lanes) * c.channels + at.channel;
            if (row + r * c.lanes >= end) break;
            apply_backward_to<T, V>(a, element, n, rows[r], dy_rows[r], others[r], open[r]);
        }
    }
}

template <class T> __device__ inline void bn_backward_apply(const struct bn_backward_apply_arguments &a)
{
    if (a.columns.width == 8)
        apply_backward<T, 8>(a);
    else
        apply_backward<T, 1>(a);
}

// ---- Sums and what is made of them in one launch ----

template <class T, int V> __device__ inline void whole(const struct bn_whole_arguments &a)
{
    if (grid_arrives()) {
        const uint32_t turn = grid_turn(a.sums.step->turns);
        const bool last = take_sums<T, V>(a.sums);
        if (!grid_wait(a.sums.step->turns, turn, last)) return;
    }
    apply<T, V>(a.apply);
}

template <class T> __device__ inline void bn_whole(const struct bn_whole_arguments &a)
{
    if (a.sums.columns.width == 8)
        whole<T, 8>(a);
    else
        whole<T, 1>(a);
}

template <class T, int V> __device__ inline void whole_backward(const struct bn_backward_whole_arguments &a)
{
    if (grid_arrives()) {
        const uint32_t turn = grid_turn(a.sums.step->turns);
        const bool last = take_gradient_sums<T, V>(a.sums);
        if (!grid_wait(a.sums.step->turns, turn, last)) return;
    }
    apply_backward<T, V>(a.apply);
}

template <class T> __device__ inline void bn_backward_whole(const struct bn_backward_whole_arguments &a)
{
    if (a.sums.columns.width == 8)
        whole_backward<T, 8>(a);
    else
        whole_backward<T, 1>(a);
}

KERNEL_OF_EACH(bn_whole, bn_whole_arguments)
KERNEL_OF_EACH(bn_backward_whole, bn_backward_whole_arguments)
KERNEL_OF_EACH(bn_sums, bn_sums_arguments)
KERNEL_OF_EACH(bn_apply, bn_apply_arguments)
KERNEL_OF_EACH(bn_mask, bn_mask_arguments)
KERNEL_OF_EACH(bn_backward_sums, bn_backward_sums_arguments)
KERNEL_OF_EACH(bn_backward_apply, bn_backward_apply_arguments)
