/* From the logical graph to the one that a device runs: batch normalisations are taken apart, and their parts are done
 * by the convolutions before and after them where the device can.
 *
 * Of a BN over x = {N, H, W, C}, with its mean and variance over N H W:
 *
 * - sums {1, 1, 2, C}, f64: what the statistics are made from. They are written by the convolution that makes x, after
 *   its addition, or else by OP_BN_SUMS.
 * - norm {1, 1, 6, C}, f32: what normalises x, by OP_BN_FINALIZE, which also moves the running statistics, and gathers
 *   the sums of all devices for synchronised BN. In evaluation it comes from the running statistics.
 * - y has no tensor where every reader is a convolution that reads x through norm. Where a reader is not, OP_BN_APPLY
 *   makes y for all of them; gradients of weights in the BN's own block still read x, which is kept anyway. Where only
 *   gradients of weights cannot read x through norm, y is made for them in the backward pass: by OP_BN_BWD_APPLY, which has x
 *   at hand, and for which they wait, or else by OP_BN_APPLY.
 * - gradient sums {1, 1, 2, C}, f64: of dy where ReLU let y through, and of its product with x. They are written by the
 *   convolution's data gradient that makes the whole of dy, which then also zeroes what ReLU shut.
 * - dx is made by OP_BN_BWD_APPLY, which gathers the gradient sums, or takes them first where no convolution did, writes
 *   gamma's and beta's gradients and adds dx to x's gradient of other readers.
 * - dx has no tensor where at most two gradients of convolutions read it, all in the BN's block: they make it of dy, x and
 *   coefficients {1, 1, 5, C}, f32, by OP_BN_BWD_FINALIZE, which does the rest of the above. Where there are no sums,
 *   OP_BN_BWD_SUMS takes them before. Or dx is made so by one convolution's gradient of data, which writes it besides, for
 *   the gradient of its weights: that comes after it then.
 *
 * A frozen BN (graph_options.freeze_bn) has no sums: its norm is that of evaluation, in every pass. Its gradient sums are
 * taken for gamma and beta alone, and where these are frozen too by none but a convolution that zeroes what ReLU shut. Its
 * dx is scale dy, through the same coefficients; where x is not wanted for ReLU its readers have dy in x's place.
 *
 * What the rows of these small tensors hold is the backend's own affair. Their shapes are part of the plan.
 *
 * The sum of x's gradients becomes part of the convolution's gradient of data that makes the later one of them, and with it
 * the backward pass of the ReLU that made x, where nothing else reads what it is given: also where that ReLU is of the block
 * before, whose output x then is.
 *
 * An addition becomes part of the convolution that makes the later one of its operands, when nothing else reads that; or
 * else of the OP_BN_APPLY of a BN without ReLU that makes one of them for it alone, at the place of the addition. That also
 * does the ReLU that alone reads the sum: y = max(0, ((x - mean) scale + beta) + other), in f32, and rounded to 16 bits at
 * the end alone.
 *
 * Weights, where activations have 16 bits: OP_WEIGHTS_COPY makes a copy {1, 1, 1, elements} of each bucket that has weights
 * of convolutions or fully connected layers, before all other forward ops. Whoever multiplies by weights (forward, again,
 * and the gradients of data) reads its view of the copy, which lies where the weights lie in their bucket, element by
 * element, and so in whatever order the backend keeps them. Biases, batch normalisation and the update read f32; gradients of
 * weights are f32. A copy that the update wrote would have to be there before the first step, survive in checkpoints or be
 * made again after each, and hold its bytes from step to step; made at the head of the pass it needs none of that, cannot be
 * older than its weights, and for 10 million weights moves 60 MB (20 microseconds at 3 TB/s).
 *
 * Gradients of weights that read through a BN, where activations have 16 bits and engines give them so: each bucket of
 * gradients has one in 16 bits beside it, {1, 1, 1, elements}, where they lie as in the bucket, and OP_GRADIENTS_WIDEN puts
 * them there once all of the bucket's are made: one op a bucket, not one a convolution, for half as many bytes more until
 * then. The other gradients are written to the bucket as ever.
 *
 * Images: OP_INPUT, in the first block, makes them of pixels {N, H, W, 3}, u8, as they are stored (CIFAR) or were decoded and
 * cut to size (photographs), and of placements {N, 1, 1, 4}, i32: dx, dy, flip (0 or 1), and a 0, so that one load of 16 bytes
 * brings them. With the step's mean and deviation of each channel, c = flip ? W - 1 - w : w, row = h + dy, column = c + dx:
 *
 *     images[n, h, w, k] = ((float)pixels[n, row, column, k] / 255 - mean[k]) / deviation[k],
 *
 * or 0 where row or column lies outside, as padding comes after normalisation. It is f32 arithmetic in that order, rounded at
 * each step (no multiplication by a reciprocal, no fused multiplication), and last to the images' type, to the nearest, ties
 * to even: 256 values a channel. So the bits are those that the loader gives where images come in f32. An image that is all
 * padding (dx = W) is one past the end of a pass of evaluation. The 3 channels are not padded to 8: the stem's weights and
 * their gradient, which are parameters of 3 channels, would have to be seen as of 8 by it alone; cuDNN pads in its workspace.
 * It can run again, so that bytes wait for the stem's gradient of weights in place of images. Where anything but the first
 * block reads images, they are given as ever.
 *
 * PASS_RECOMPUTE: convolutions run again without their sums (one output less); sums and norm are there still.
 * PASS_EVALUATE: sums are written by nobody, though their bytes are there. So it is in a training step with the ops of frozen
 * layers, which are of that pass. */
#ifndef FATHOM_LOWER_H
#define FATHOM_LOWER_H

#include "graph.h"

#define BN_SUMS_ROWS         2
#define BN_NORM_ROWS         6
#define BN_COEFFICIENTS_ROWS 5
#define INPUT_PLACEMENT      4 /* numbers of an image's */

/* The graph that a device with these capabilities (bits of enum graph_lowering) runs; the caller ends *lowered with
 * graph_destroy. `logical` is a finished graph with lowering 0 and is only read. With 0 the ops and tensors are the same
 * ones. ERROR_MEMORY. */
bool graph_lower(const struct graph *logical, uint32_t lowering, struct graph **lowered, struct error *err);

/* "bn", "sums", ...; bits without a name do not exist. */
#define LOWERINGS 13
const char *graph_lowering_name(unsigned bit);

#endif
