// AdamW (Loshchilov and Hutter, arXiv 1711.05101) for all parameters in one launch.

// One parameter: numbers before and after, and what is its own in the update.
struct Update {
    const float *parameter;
    float *new_parameter;
    const float *gradient;
    const float *first;
    float *new_first;
    const float *second;
    float *new_second;
    u64 count;
    float keep;       // 1 - lr * weight decay
    float rate;       // lr / (1 - beta1^step)
    float correction; // 1 / sqrt(1 - beta2^step)
    u32 first_block;
};

// The row of a table that this block works for: the last whose first block is not beyond it.
template <class Row> __device__ __forceinline__ Row row_of(const Row *__restrict__ rows, u32 number) {
    u32 low = 0, high = number;
    while (high - low > 1) {
        const u32 middle = (low + high) / 2;
        if (rows[middle].first_block <= blockIdx.x) low = middle;
        else high = middle;
    }
    return rows[low];
}

// The numbers of the row that are this thread's: a block has `per_block` of them.
#define EACH_OF_BLOCK(i, row, per_block) \
    for (u64 begin = (u64)(blockIdx.x - row.first_block) * per_block, end = begin + per_block < row.count ? begin + per_block : row.count, \
             i = begin + threadIdx.x; \
         i < end; i += blockDim.x)

// Where `guard` is there and not 0, all stays as it was; where `factor` is there, gradients are multiplied by it. Numbers before and after
// may be the same.
extern "C" __global__ void adamw(const Update *__restrict__ updates, u32 number, u32 per_block, const u32 *__restrict__ guard,
                                 const float *__restrict__ factor, float beta1, float beta2, float eps, float scale) {
    const Update it = row_of(updates, number);
    if (factor) scale *= *factor;
    EACH_OF_BLOCK(i, it, per_block) {
        if (guard && *guard) {
            it.new_first[i] = it.first[i];
            it.new_second[i] = it.second[i];
            it.new_parameter[i] = it.parameter[i];
            continue;
        }
        const float g = scale * it.gradient[i];
        const float m = it.first[i] * beta1 + g * (1.0f - beta1), v = it.second[i] * beta2 + g * g * (1.0f - beta2);
        it.new_first[i] = m;
        it.new_second[i] = v;
        it.new_parameter[i] = it.parameter[i] * it.keep - m / (sqrtf(v) * it.correction + eps) * it.rate;
    }
}

// The sum over a block of one number of each thread, in the order of a tree; the first thread has it. shared: [blockDim.x]
__device__ __forceinline__ double block_sum(double value, double *shared) {
    shared[threadIdx.x] = value;
    __syncthreads();
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    return shared[0];
}

// sums: [blocks], of the squares of the gradients that each block has.
extern "C" __global__ void square_sums(const Update *__restrict__ updates, u32 number, u32 per_block, double *__restrict__ sums) {
    DYNAMIC_SHARED(shared); // [threads] of double
    const Update it = row_of(updates, number);
    double sum = 0.0;
    EACH_OF_BLOCK(i, it, per_block) sum += (double)it.gradient[i] * it.gradient[i];
    sum = block_sum(sum, (double *)shared);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// By one block: result[0], what clips to `most`, min(1, most / (norm + 1e-6)) as torch has it; result[1], the norm.
extern "C" __global__ void clip_factor(const double *__restrict__ sums, u32 count, float most, float *__restrict__ result) {
    DYNAMIC_SHARED(shared); // [threads] of double
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
    sum = block_sum(sum, (double *)shared);
    if (threadIdx.x != 0) return;
    const double norm = sqrt(sum), factor = most / (norm + 1e-6);
    result[0] = factor < 1.0 ? (float)factor : 1.0f;
    result[1] = (float)norm;
}

// One parameter and its moving average, before and after.
struct Average {
    const float *parameter;
    const float *average;
    float *new_average;
    u64 count;
    float weight; // 1 - decay
    u32 first_block;
};

extern "C" __global__ void average(const Average *__restrict__ averages, u32 number, u32 per_block, const u32 *__restrict__ guard) {
    const Average it = row_of(averages, number);
    const float weight = guard && *guard ? 0.0f : it.weight;
    EACH_OF_BLOCK(i, it, per_block) it.new_average[i] = it.average[i] + weight * (it.parameter[i] - it.average[i]);
}
