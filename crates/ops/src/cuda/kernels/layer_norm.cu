// Layer normalisation over rows of c numbers, one warp for each row: n = (x - mean) / sqrt(variance + eps), y = n weight + bias.

// statistics: [rows, 2], mean and 1 / sqrt(variance + eps).
extern "C" __global__ void layer_norm_forward(const float *__restrict__ x, const float *__restrict__ weight, const float *__restrict__ bias,
                                              float *__restrict__ y, float *__restrict__ statistics, u32 rows, u32 c, float eps) {
    const u32 lane = threadIdx.x % WARP, row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    x += (u64)row * c;
    y += (u64)row * c;
    float sum = 0.0f;
    for (u32 i = lane; i < c; i += WARP) sum += x[i];
    const float mean = warp_sum(sum) / c;
    float squares = 0.0f;
    for (u32 i = lane; i < c; i += WARP) squares += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf(warp_sum(squares) / c + eps);
    for (u32 i = lane; i < c; i += WARP) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
    if (lane == 0) {
        statistics[2 * row] = mean;
        statistics[2 * row + 1] = scale;
    }
}

// With g = dy weight: dx = scale (g - mean(g) - n mean(g n)).
extern "C" __global__ void layer_norm_backward(const float *__restrict__ x, const float *__restrict__ weight, const float *__restrict__ statistics,
                                               const float *__restrict__ dy, float *__restrict__ dx, u32 fresh, u32 rows, u32 c) {
    const u32 lane = threadIdx.x % WARP, row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    x += (u64)row * c;
    dy += (u64)row * c;
    dx += (u64)row * c;
    const float mean = statistics[2 * row], scale = statistics[2 * row + 1];
    float of_g = 0.0f, of_gn = 0.0f;
    for (u32 i = lane; i < c; i += WARP) {
        const float g = dy[i] * weight[i];
        of_g += g;
        of_gn += g * (x[i] - mean) * scale;
    }
    of_g = warp_sum(of_g) / c;
    of_gn = warp_sum(of_gn) / c;
    for (u32 i = lane; i < c; i += WARP) add_to(dx + i, scale * (dy[i] * weight[i] - of_g - (x[i] - mean) * scale * of_gn), fresh);
}

// Sums over the rows of a part of dy n and dy, as `column_sums` has them: sums [parts, 2, c].
extern "C" __global__ void layer_norm_parameters(const float *__restrict__ x, const float *__restrict__ statistics, const float *__restrict__ dy,
                                                 float *__restrict__ sums, u32 rows, u32 c) {
    DYNAMIC_SHARED(shared); // [warps][2][32]
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const u32 column = blockIdx.x * WARP + lane;
    float of_weight = 0.0f, of_bias = 0.0f;
    if (column < c)
        for (u32 row = blockIdx.y + warp * gridDim.y; row < rows; row += warps * gridDim.y) {
            const float d = dy[(u64)row * c + column];
            of_weight += d * (x[(u64)row * c + column] - statistics[2 * row]) * statistics[2 * row + 1];
            of_bias += d;
        }
    shared[2 * warp * WARP + lane] = of_weight;
    shared[(2 * warp + 1) * WARP + lane] = of_bias;
    __syncthreads();
    if (warp == 0 && column < c) {
        for (u32 w = 1; w < warps; ++w) {
            of_weight += shared[2 * w * WARP + lane];
            of_bias += shared[(2 * w + 1) * WARP + lane];
        }
        sums[(u64)2 * blockIdx.y * c + column] = of_weight;
        sums[(u64)(2 * blockIdx.y + 1) * c + column] = of_bias;
    }
}

// Adds the parts of both up.
extern "C" __global__ void layer_norm_add_parts(const float *__restrict__ sums, u32 parts, float *dweight, u32 fresh_weight,
                                                float *dbias, u32 fresh_bias, u32 c) {
    EACH(i, c) {
        float of_weight = 0.0f, of_bias = 0.0f;
        for (u32 p = 0; p < parts; ++p) {
            of_weight += sums[2 * p * c + i];
            of_bias += sums[(2 * p + 1) * c + i];
        }
        add_to(dweight + i, of_weight, fresh_weight);
        add_to(dbias + i, of_bias, fresh_bias);
    }
}
