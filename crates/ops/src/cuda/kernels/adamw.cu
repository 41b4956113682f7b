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

// A block has `per_block` numbers of one parameter. Where `guard` is there and not 0, all stays as it was. Numbers before and after may be
// the same.
extern "C" __global__ void adamw(const Update *__restrict__ updates, u32 number, u32 per_block, const u32 *__restrict__ guard, float beta1,
                                 float beta2, float eps, float scale) {
    u32 low = 0, high = number; // the last parameter whose first block is not beyond this
    while (high - low > 1) {
        const u32 middle = (low + high) / 2;
        if (updates[middle].first_block <= blockIdx.x) low = middle;
        else high = middle;
    }
    const Update it = updates[low];
    const u64 begin = (u64)(blockIdx.x - it.first_block) * per_block;
    const u64 end = begin + per_block < it.count ? begin + per_block : it.count;
    for (u64 i = begin + threadIdx.x; i < end; i += blockDim.x) {
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
