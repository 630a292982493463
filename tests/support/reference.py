"""Naive versions of minidl's kernels: one window, one row, one number at a time.

Everything is computed in float64, directly from the definition.
"""

import math

import numpy as np

# ``window`` is any object with kernel_size, strides, padding and dilation.


def naive_placement(size, kernel, stride, dilation, padding):
    """Return (positions, before, after) of a window along one axis: its count and padding."""
    extent = dilation * (kernel - 1) + 1
    if padding == "valid":
        return len(range(0, size - extent + 1, stride)), 0, 0
    if not isinstance(padding, str):
        before, after = padding
        return len(range(0, before + size + after - extent + 1, stride)), before, after
    positions = len(range(0, size, stride))  # TensorFlow: a window for every stride-th pixel
    missing = 0
    while (positions - 1) * stride + extent > size + missing:
        missing += 1
    return positions, missing // 2, missing - missing // 2


def naive_windows(shape, window):
    """Yield ``(oy, ox, taps)``; taps are ``(ky, kx, iy, ix)`` of the real pixels, no padding."""
    paddings = [window.padding] * 2
    if not isinstance(window.padding, str):
        paddings = [window.padding[:2], window.padding[2:]]
    geometry = (window.kernel_size, window.strides, window.dilation, paddings)
    axes = zip(shape[1:3], *geometry, strict=True)
    (rows, top, _), (columns, left, _) = (naive_placement(*axis) for axis in axes)
    (kh, kw), (sh, sw), (dh, dw) = window.kernel_size, window.strides, window.dilation
    for oy in range(rows):
        for ox in range(columns):
            taps = []
            for ky in range(kh):
                for kx in range(kw):
                    iy, ix = oy * sh - top + ky * dh, ox * sw - left + kx * dw
                    if 0 <= iy < shape[1] and 0 <= ix < shape[2]:
                        taps.append((ky, kx, iy, ix))
            yield oy, ox, taps


def naive_output_size(shape, window):
    """Return (OH, OW)."""
    positions = [(oy, ox) for oy, ox, _ in naive_windows(shape, window)]
    return (positions[-1][0] + 1, positions[-1][1] + 1) if positions else (0, 0)


def naive_im2col(x, window):
    """Return (N*OH*OW, KH, KW, C): the patch that each output pixel sees, zero outside."""
    patches = []
    for image in x:
        for _, _, taps in naive_windows(x.shape, window):
            patch = np.zeros((*window.kernel_size, x.shape[3]), x.dtype)
            for ky, kx, iy, ix in taps:
                patch[ky, kx] = image[iy, ix]
            patches.append(patch)
    return np.array(patches)


def naive_col2im(patches, shape, window):
    """Return (N, H, W, C): every patch added back onto the pixels it came from."""
    x = np.zeros(shape, patches.dtype)
    row = 0
    for image in x:
        for _, _, taps in naive_windows(shape, window):
            for ky, kx, iy, ix in taps:
                image[iy, ix] += patches[row, ky, kx]
            row += 1
    return x


def naive_conv2d(x, w, window, groups=1):
    """Return (N, OH, OW, K) for x (N, H, W, C) and w (KH, KW, C / groups, K)."""
    y = np.zeros((len(x), *naive_output_size(x.shape, window), w.shape[3]))
    for n, oy, ox, k, channels, tap, pixel in _terms(x, w, window, groups):
        y[n, oy, ox, k] += np.sum(np.float64(x[n, *pixel, channels]) * w[*tap, :, k])
    return y


def naive_conv2d_backward(x, w, dy, window, groups=1):
    """Return (dx, dw): every product of the forward pass passes its gradient to both factors."""
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for n, oy, ox, k, channels, tap, pixel in _terms(x, w, window, groups):
        dx[n, *pixel, channels] += w[*tap, :, k] * np.float64(dy[n, oy, ox, k])
        dw[*tap, :, k] += x[n, *pixel, channels] * np.float64(dy[n, oy, ox, k])
    return dx, dw


def _terms(x, w, window, groups):
    depth, filters = w.shape[2], w.shape[3]
    windows = list(naive_windows(x.shape, window))
    for n in range(len(x)):
        for oy, ox, taps in windows:
            for k in range(filters):
                group = k // (filters // groups)
                channels = slice(group * depth, (group + 1) * depth)
                for ky, kx, iy, ix in taps:
                    yield n, oy, ox, k, channels, (ky, kx), (iy, ix)


def depthwise_as_grouped(w):
    """Return the kernel (KH, KW, 1, C*M) with C groups that equals the depthwise kernel `w`."""
    return w.reshape(*w.shape[:2], 1, -1)


def naive_max_pool(x, window):
    """Return the largest real pixel of each window."""
    return _pool(x, window, lambda values: values.max(axis=0))


def naive_average_pool(x, window):
    """Return the mean of the real pixels of each window."""
    return _pool(x, window, lambda values: np.mean(values, axis=0))


def _pool(x, window, reduce):
    y = np.zeros((len(x), *naive_output_size(x.shape, window), x.shape[3]))
    for n, image in enumerate(np.float64(x)):
        for oy, ox, taps in naive_windows(x.shape, window):
            y[n, oy, ox] = reduce(np.array([image[iy, ix] for _, _, iy, ix in taps]))
    return y


def naive_max_pool_backward(x, dy, window):
    """Add each gradient to the first pixel of its window that holds the maximum."""
    dx = np.zeros(x.shape)
    for n in range(len(x)):
        for oy, ox, taps in naive_windows(x.shape, window):
            for c in range(x.shape[3]):
                values = [x[n, iy, ix, c] for _, _, iy, ix in taps]
                _, _, iy, ix = taps[values.index(max(values))]
                dx[n, iy, ix, c] += dy[n, oy, ox, c]
    return dx


def naive_average_pool_backward(x, dy, window):
    """Share each gradient among the real pixels of its window."""
    dx = np.zeros(x.shape)
    for n in range(len(x)):
        for oy, ox, taps in naive_windows(x.shape, window):
            for _, _, iy, ix in taps:
                dx[n, iy, ix] += np.float64(dy[n, oy, ox]) / len(taps)
    return dx


def naive_batch_norm(x, gamma, beta, epsilon):
    """Return y for rows x (M, C): mean beta, standard deviation (almost) gamma."""
    x = np.float64(x)
    return gamma * (x - np.mean(x, axis=0)) / np.sqrt(np.var(x, axis=0) + epsilon) + beta


def naive_batch_norm_backward(dy, x, gamma, epsilon):
    """Return (dx, dgamma, dbeta), the chain rule step by step through mean and variance."""
    x, dy = np.float64(x), np.float64(dy)
    rows, centered = len(x), x - np.mean(x, axis=0)
    deviation = np.sqrt(np.var(x, axis=0) + epsilon)
    dn = dy * gamma
    dvariance = np.sum(dn * centered, axis=0) * -0.5 / deviation**3
    dmean = -np.sum(dn, axis=0) / deviation  # through the variance nothing: sum(centered) = 0
    dx = dn / deviation + dvariance * 2 * centered / rows + dmean / rows
    return dx, np.sum(dy * centered / deviation, axis=0), np.sum(dy, axis=0)


def naive_softmax(x):
    """Return the softmax over the last axis, one row at a time."""
    y = np.empty(x.shape)
    for i in np.ndindex(x.shape[:-1]):
        powers = [math.exp(v - max(x[i])) for v in np.float64(x[i])]
        y[i] = [power / math.fsum(powers) for power in powers]
    return y


def naive_sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v > -700 else 0.0


def naive_relu(v, slope=0.0, maximum=math.inf, threshold=0.0):
    return slope * (v - threshold) if v < threshold else min(v, maximum)


def naive_gelu_tanh(v):
    return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def naive_hard_sigmoid(v):
    return min(max(v + 3, 0), 6) / 6


# With kinks at -3 and 3.
NAIVE_HARD_FUNCTIONS = {
    "hard_sigmoid": naive_hard_sigmoid,
    "hard_silu": lambda v: v * naive_hard_sigmoid(v),
}
NAIVE_FUNCTIONS = {
    "sigmoid": naive_sigmoid,
    "tanh": math.tanh,
    "silu": lambda v: v * naive_sigmoid(v),
    "gelu": lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2)),
    "gelu_tanh": naive_gelu_tanh,
}


def each(function, x):
    """Apply a function of one number to each element, in float64."""
    return np.array([function(float(v)) for v in np.ravel(x)]).reshape(np.shape(x))


def slope_of(function, x, step=1e-5):
    """Return the derivative of a smooth function of one number, by Richardson differences."""

    def central(h):
        return (each(function, x + h) - each(function, x - h)) / (2 * h)

    x = np.asarray(x, np.float64)
    return (4 * central(step * 8) - central(step * 16)) / 3
