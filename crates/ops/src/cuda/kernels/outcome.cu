// What came of a pass, for the host to read when it likes, by one block.

// outcome: the loss, and how many rows of logits [rows, classes] have their label's as the largest, the first of equals, and no NaN.
// guard becomes 1 if the loss is not finite.
extern "C" __global__ void outcome_of(const float *__restrict__ logits, const u32 *__restrict__ labels, const float *__restrict__ loss,
                                      float *__restrict__ of_loss, u32 *__restrict__ of_rows, u32 *guard, u32 rows, u32 classes) {
    DYNAMIC_SHARED(shared); // [warps]
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    float right = 0.0f; // exact: rows are fewer than 2^24
    for (u32 row = warp; row < rows; row += warps) {
        const float *own = logits + (u64)row * classes;
        const u32 label = labels[row];
        float before = label < classes ? 0.0f : 1.0f;
        const float at_label = label < classes ? own[label] : 0.0f;
        for (u32 c = lane; c < classes; c += WARP)
            before += own[c] != own[c] || own[c] > at_label || (own[c] == at_label && c < label) ? 1.0f : 0.0f;
        if (warp_sum(before) == 0.0f && lane == 0) right += 1.0f;
    }
    if (lane == 0) shared[warp] = right;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 w = 1; w < warps; ++w) right += shared[w];
        *of_loss = *loss;
        *of_rows = (u32)right;
        if (!(fabsf(*loss) <= 3.4028235e38f)) *guard = 1;
    }
}
