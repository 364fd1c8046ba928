// Channels and pixels that change their place.
#include "pixels.cuh"

template <class T, int V> __device__ inline void shortcut_group(const struct shortcut_arguments &a, const pixel &o)
{
    float x[V] = {};
    if (o.c < a.x_dims.channels)
        load<T, V>(a.x, element_of(a.x_dims, {o.n, o.h * a.stride, o.w * a.stride, o.c}), x);
    store<T, V>(a.y, element_of(a.y_dims, o), x);
}

template <class T> __device__ inline void shortcut_pad(const struct shortcut_arguments &a)
{
    FOR_EACH_GROUP(T, a, y_dims, shortcut_group)
}

template <class T, int V> __device__ inline void shortcut_backward_group(const struct shortcut_arguments &a, const pixel &p)
{
    const uint32_t h = p.h / a.stride, w = p.w / a.stride;
    float dy[V] = {};
    if (h * a.stride == p.h && w * a.stride == p.w && h < a.y_dims.rows && w < a.y_dims.columns)
        load<T, V>(a.y, element_of(a.y_dims, {p.n, h, w, p.c}), dy);
    store<T, V>(a.x, element_of(a.x_dims, p), dy);
}

template <class T> __device__ inline void shortcut_pad_backward(const struct shortcut_arguments &a)
{
    FOR_EACH_GROUP(T, a, x_dims, shortcut_backward_group)
}

template <class T, int V> __device__ inline void copy_groups(const struct copy_channels_arguments &a)
{
    const uint32_t groups = a.channels / V;
    for (uint32_t i = (uint32_t)grid_first(); i < a.rows * groups; i += (uint32_t)grid_step()) {
        const uint64_t row = i / groups;
        const uint32_t c = (i - (uint32_t)row * groups) * V;
        float x[V];
        load<T, V>(a.from, row * a.from_channels + a.from_first + c, x);
        store<T, V>(a.to, row * a.to_channels + a.to_first + c, x);
    }
}

template <class T> __device__ inline void copy_channels(const struct copy_channels_arguments &a)
{
    if (a.width == 8)
        copy_groups<T, 8>(a);
    else
        copy_groups<T, 1>(a);
}

// A thread has a pixel.
template <class T> __device__ inline void place_images(const struct place_images_arguments &a)
{
    const struct kernel_image pixels = {a.dims.images, a.dims.rows, a.dims.columns, 1};
    for (uint32_t i = (uint32_t)grid_first(); i < groups_of(pixels, 1); i += (uint32_t)grid_step()) {
        const pixel p = pixel_of(pixels, 1, i);
        const int32_t *placement = a.placements + 4 * (uint64_t)p.n;
        const int64_t row = (int64_t)p.h + placement[1];
        const int64_t column = (int64_t)(placement[2] ? a.dims.columns - 1 - p.w : p.w) + placement[0];
        const bool padding = row < 0 || row >= a.dims.rows || column < 0 || column >= a.dims.columns;
        const uint64_t from = padding ? 0 : element_of(a.dims, {p.n, (uint32_t)row, (uint32_t)column, 0});
        for (int k = 0; k < 3; k++) {
            const float value = ((float)a.pixels[from + k] / 255.0f - a.step->mean[k]) / a.step->deviation[k];
            static_cast<T *>(a.images)[3 * (uint64_t)i + k] = narrow<T>(padding ? 0 : value);
        }
    }
}

KERNEL_OF_EACH(place_images, place_images_arguments)
KERNEL_OF_EACH(shortcut_pad, shortcut_arguments)
KERNEL_OF_EACH(shortcut_pad_backward, shortcut_arguments)
KERNEL_OF_EACH(copy_channels, copy_channels_arguments)
