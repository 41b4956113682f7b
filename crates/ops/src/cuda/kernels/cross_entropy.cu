// Softmax cross-entropy with soft targets, one warp for each row.

// losses: [rows], -sum_c targets log softmax(logits); gradient: of their mean, (sum(targets) softmax(logits) - targets) / rows.
extern "C" __global__ void cross_entropy_forward(const float *__restrict__ logits, const float *__restrict__ targets, float *__restrict__ losses,
                                                 float *__restrict__ gradient, u32 rows, u32 classes) {
    const u32 lane = threadIdx.x % WARP, row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    logits += (u64)row * classes;
    targets += (u64)row * classes;
    gradient += (u64)row * classes;
    float largest = -3.4e38f;
    for (u32 i = lane; i < classes; i += WARP) largest = fmaxf(largest, logits[i]);
    largest = warp_max(largest);
    float sum = 0.0f, weight = 0.0f, dot = 0.0f;
    for (u32 i = lane; i < classes; i += WARP) {
        const float z = logits[i] - largest;
        sum += expf(z);
        weight += targets[i];
        dot += targets[i] * z;
    }
    sum = warp_sum(sum);
    weight = warp_sum(weight);
    dot = warp_sum(dot);
    if (lane == 0) losses[row] = weight * logf(sum) - dot;
    for (u32 i = lane; i < classes; i += WARP) gradient[i] = (weight * expf(logits[i] - largest) / sum - targets[i]) / rows;
}

// The mean of `count` numbers, by one block.
extern "C" __global__ void mean_of(const float *__restrict__ numbers, float *__restrict__ mean, u32 count) {
    DYNAMIC_SHARED(shared); // [warps]
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) sum += numbers[i];
    sum = warp_sum(sum);
    if (lane == 0) shared[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 w = 1; w < blockDim.x / WARP; ++w) sum += shared[w];
        *mean = sum / count;
    }
}
