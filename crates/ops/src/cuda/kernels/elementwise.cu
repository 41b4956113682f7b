// Operations on each number by itself, and sums with few terms.

// x Phi(x), with the error function.
extern "C" __global__ void gelu_forward(const float *__restrict__ x, float *__restrict__ y, u64 count) {
    EACH(i, count) { y[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f)); }
}

// d/dx: Phi(x) + x phi(x)
extern "C" __global__ void gelu_backward(const float *__restrict__ x, const float *__restrict__ dy, float *__restrict__ dx, u32 fresh,
                                         u64 count) {
    EACH(i, count) {
        const float v = x[i];
        const float density = 0.39894228f * expf(-0.5f * v * v);
        add_to(dx + i, dy[i] * (0.5f * (1.0f + erff(v * 0.70710678f)) + v * density), fresh);
    }
}

// max(x, 0); a NaN stays one.
extern "C" __global__ void relu_forward(const float *__restrict__ x, float *__restrict__ y, u64 count) {
    EACH(i, count) { y[i] = x[i] < 0.0f ? 0.0f : x[i]; }
}

extern "C" __global__ void relu_backward(const float *__restrict__ x, const float *__restrict__ dy, float *__restrict__ dx, u32 fresh,
                                         u64 count) {
    EACH(i, count) { add_to(dx + i, x[i] > 0.0f ? dy[i] : 0.0f, fresh); }
}

// residual + scale[sample] branch; without scale, 1.
extern "C" __global__ void residual_forward(const float *__restrict__ branch, const float *__restrict__ residual,
                                            const float *__restrict__ scale, float *__restrict__ y, u64 sample, u64 count) {
    EACH(i, count) { y[i] = residual[i] + (scale ? scale[i / sample] * branch[i] : branch[i]); }
}

extern "C" __global__ void residual_backward(const float *__restrict__ dy, const float *__restrict__ scale, float *dbranch, u32 fresh_branch,
                                             float *dresidual, u32 fresh_residual, u64 sample, u64 count) {
    EACH(i, count) {
        add_to(dbranch + i, scale ? scale[i / sample] * dy[i] : dy[i], fresh_branch);
        add_to(dresidual + i, dy[i], fresh_residual);
    }
}

// Each row of `row` numbers: y = x + added.
extern "C" __global__ void rows_add(const float *__restrict__ x, const float *__restrict__ added, float *__restrict__ y, u64 row, u64 count) {
    EACH(i, count) { y[i] = x[i] + added[i % row]; }
}

// Each row of y: `from`.
extern "C" __global__ void rows_fill(const float *__restrict__ from, float *__restrict__ y, u64 row, u64 count) {
    EACH(i, count) { y[i] = from[i % row]; }
}

extern "C" __global__ void accumulate(const float *__restrict__ from, float *__restrict__ to, u32 fresh, u64 count) {
    EACH(i, count) { add_to(to + i, from[i], fresh); }
}

// Adds `factor` times what is there to what `scalar` holds: gradients of a mean.
extern "C" __global__ void accumulate_scaled(const float *__restrict__ from, const float *__restrict__ scalar, float *__restrict__ to, u32 fresh,
                                             u64 count) {
    EACH(i, count) { add_to(to + i, *scalar * from[i], fresh); }
}

// Sums over rows, [rows, columns] to [parts, columns]: part p has every parts-th row from p on. A block has 32 columns; its warps
// take turns with the part's rows.
extern "C" __global__ void column_sums(const float *__restrict__ x, float *__restrict__ sums, u64 rows, u32 columns) {
    DYNAMIC_SHARED(shared); // [warps][32]
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const u32 column = blockIdx.x * WARP + lane;
    float sum = 0.0f;
    if (column < columns)
        for (u64 row = blockIdx.y + (u64)warp * gridDim.y; row < rows; row += (u64)warps * gridDim.y) sum += x[row * columns + column];
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && column < columns) {
        for (u32 w = 1; w < warps; ++w) sum += shared[w * WARP + lane];
        sums[(u64)blockIdx.y * columns + column] = sum;
    }
}

// Adds the parts up onto `to`.
extern "C" __global__ void add_parts(const float *__restrict__ sums, u32 parts, float *__restrict__ to, u32 fresh, u64 columns) {
    EACH(i, columns) {
        float sum = 0.0f;
        for (u32 p = 0; p < parts; ++p) sum += sums[p * columns + i];
        add_to(to + i, sum, fresh);
    }
}

// A token in front of each sample: x [batch, tokens, c], y [batch, tokens + 1, c].
extern "C" __global__ void prepend_forward(const float *__restrict__ x, const float *__restrict__ token, float *__restrict__ y, u64 sample,
                                           u64 c, u64 count) {
    EACH(i, count) {
        const u64 b = i / (sample + c), within = i % (sample + c);
        y[i] = within < c ? token[within] : x[b * sample + within - c];
    }
}

// The rows' gradients; the token's is the sum over the batch.
extern "C" __global__ void prepend_backward(const float *__restrict__ dy, float *dx, u32 fresh_x, float *dtoken, u32 fresh_token, u64 sample,
                                            u64 c, u64 count) {
    const u64 batch = (count - c) / sample;
    EACH(i, count) {
        if (i < c) {
            float sum = 0.0f;
            for (u64 b = 0; b < batch; ++b) sum += dy[b * (sample + c) + i];
            add_to(dtoken + i, sum, fresh_token);
        } else {
            const u64 at = i - c;
            add_to(dx + at, dy[at / sample * (sample + c) + c + at % sample], fresh_x);
        }
    }
}

// factor times the sum of tokens first..first + taken of each sample: x [batch, tokens, c], y [batch, c].
extern "C" __global__ void tokens_forward(const float *__restrict__ x, float *__restrict__ y, u64 tokens, u64 c, u64 first, u64 taken,
                                          float factor, u64 count) {
    EACH(i, count) {
        const float *from = x + i / c * tokens * c + first * c + i % c;
        float sum = 0.0f;
        for (u64 t = 0; t < taken; ++t) sum += from[t * c];
        y[i] = factor * sum;
    }
}

extern "C" __global__ void tokens_backward(const float *__restrict__ dy, float *__restrict__ dx, u32 fresh, u64 tokens, u64 c, u64 first,
                                           u64 taken, float factor, u64 count) {
    EACH(i, count) {
        const u64 token = i / c % tokens;
        const bool read = token >= first && token < first + taken;
        if (read || fresh) add_to(dx + i, read ? factor * dy[i / (tokens * c) * c + i % c] : 0.0f, fresh);
    }
}
