// The heads of self-attention, and of gated positional self-attention: A v with
//   C = softmax(q k^T scale), P = softmax(w . r + b), A = (1 - g) C + g P; without a gate, A = C.
// A block has one image and one head, and keeps both keys and values in shared memory; no map is stored but P, which is the same for
// every image. Rows of A sum to 1 as they are.

// `factor` times the tokens of one image and head in shared memory, `row` numbers apart: an odd row keeps lanes out of each other's
// banks.
__device__ __forceinline__ void load_rows(float *to, const float *from, u32 tokens, u32 dim, u32 step, u32 row, float factor = 1.0f) {
    for (u32 i = threadIdx.x; i < tokens * dim; i += blockDim.x) to[i / dim * row + i % dim] = factor * from[(u64)(i / dim) * step + i % dim];
}

__device__ __forceinline__ float dot(const float *a, const float *b, u32 dim) {
    float sum = 0.0f;
    for (u32 i = 0; i < dim; ++i) sum += a[i] * b[i];
    return sum;
}

// The share of the positional map.
__device__ __forceinline__ float share_of(const float *gating, u32 head) { return gating ? 1.0f / (1.0f + expf(-gating[head])) : 0.0f; }

// q, k: [batch, tokens, ..] with `qk_step` numbers from token to token, head h at h dim; v with `v_step`; y: [batch, tokens, heads dim];
// statistics: [batch, heads, tokens, 2], the largest score and 1 / the sum of a row of C; position: P, [heads, tokens, tokens].
extern "C" __global__ void attention_forward(const float *__restrict__ q, const float *__restrict__ k, const float *__restrict__ v,
                                             float *__restrict__ y, float *__restrict__ statistics, const float *__restrict__ position,
                                             const float *__restrict__ gating, u32 tokens, u32 dim, u32 qk_step, u32 v_step, float scale) {
    DYNAMIC_SHARED(shared);
    const u32 row = dim | 1, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const u32 head = blockIdx.y, heads = gridDim.y, width = heads * dim;
    const u64 image = blockIdx.x;
    float *keys = shared, *values = keys + tokens * row;
    float *own = values + tokens * row + warp * (tokens + dim), *query = own + tokens;
    q += image * tokens * qk_step + head * dim;
    load_rows(keys, k + image * tokens * qk_step + head * dim, tokens, dim, qk_step, row);
    load_rows(values, v + image * tokens * v_step + head * dim, tokens, dim, v_step, row);
    __syncthreads();
    const float share = share_of(gating, head);
    for (u32 i = warp; i < tokens; i += warps) {
        for (u32 c = lane; c < dim; c += WARP) query[c] = scale * q[(u64)i * qk_step + c];
        __syncwarp();
        float largest = -3.4e38f, sum = 0.0f;
        for (u32 j = lane; j < tokens; j += WARP) {
            own[j] = dot(query, keys + j * row, dim);
            largest = fmaxf(largest, own[j]);
        }
        largest = warp_max(largest);
        for (u32 j = lane; j < tokens; j += WARP) {
            own[j] = expf(own[j] - largest);
            sum += own[j];
        }
        const float inverse = 1.0f / warp_sum(sum);
        for (u32 j = lane; j < tokens; j += WARP) {
            const float content = own[j] * inverse;
            own[j] = position ? (1.0f - share) * content + share * position[((u64)head * tokens + i) * tokens + j] : content;
        }
        if (lane == 0) {
            float *to = statistics + ((image * heads + head) * tokens + i) * 2;
            to[0] = largest;
            to[1] = inverse;
        }
        __syncwarp();
        for (u32 c = lane; c < dim; c += WARP) {
            float mixed = 0.0f;
            for (u32 j = 0; j < tokens; ++j) mixed += own[j] * values[j * row + c];
            y[(image * tokens + i) * width + head * dim + c] = mixed;
        }
        __syncwarp();
    }
}

// A block has one head and every gridDim.x-th image from blockIdx.x on. dq and dk are parts of one gradient. With a gate, position_sums
// [gridDim.x, heads, tokens, tokens] becomes the sum over its images of dA, and gate_sums [gridDim.x, heads] that of dA (P - C).
extern "C" __global__ void attention_backward(const float *__restrict__ q, const float *__restrict__ k, const float *__restrict__ v,
                                              const float *__restrict__ dy, const float *__restrict__ statistics,
                                              const float *__restrict__ position, const float *__restrict__ gating, float *dq, float *dk,
                                              u32 fresh_qk, float *dv, u32 fresh_v, float *__restrict__ position_sums,
                                              float *__restrict__ gate_sums, u32 batch, u32 tokens, u32 dim, u32 qk_step, u32 v_step,
                                              float scale) {
    DYNAMIC_SHARED(shared);
    const u32 row = dim | 1, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const u32 head = blockIdx.y, heads = gridDim.y, width = heads * dim;
    float *queries = shared, *keys = queries + tokens * row, *values = keys + tokens * row, *given = values + tokens * row;
    float *largest = given + tokens * row, *inverse = largest + tokens, *means = inverse + tokens;
    float *own = means + tokens + warp * 2 * tokens, *other = own + tokens;
    const float share = share_of(gating, head), rest = 1.0f - share;
    const float *map = position ? position + (u64)head * tokens * tokens : nullptr;
    float *sums = position ? position_sums + ((u64)blockIdx.x * heads + head) * tokens * tokens : nullptr;
    float of_gate = 0.0f;
    for (u32 image = blockIdx.x; image < batch; image += gridDim.x) {
        const u64 at = (u64)image * tokens;
        load_rows(queries, q + at * qk_step + head * dim, tokens, dim, qk_step, row, scale); // as forwards, to the bit
        load_rows(keys, k + at * qk_step + head * dim, tokens, dim, qk_step, row);
        load_rows(values, v + at * v_step + head * dim, tokens, dim, v_step, row);
        load_rows(given, dy + at * width + head * dim, tokens, dim, width, row);
        for (u32 i = threadIdx.x; i < tokens; i += blockDim.x) {
            const float *from = statistics + (((u64)image * heads + head) * tokens + i) * 2;
            largest[i] = from[0];
            inverse[i] = from[1];
        }
        __syncthreads();
        // Queries: with D = sum_j C dA, dS = (1 - g) C (dA - D) and dq = scale dS k.
        for (u32 i = warp; i < tokens; i += warps) {
            float mean = 0.0f;
            for (u32 j = lane; j < tokens; j += WARP) {
                const float content = expf(dot(queries + i * row, keys + j * row, dim) - largest[i]) * inverse[i];
                const float of_map = dot(given + i * row, values + j * row, dim);
                own[j] = content;
                other[j] = of_map;
                mean += content * of_map;
                if (position) {
                    float *sum = sums + i * tokens + j;
                    *sum = image == blockIdx.x ? of_map : *sum + of_map;
                    of_gate += of_map * (map[i * tokens + j] - content);
                }
            }
            mean = warp_sum(mean);
            if (lane == 0) means[i] = mean;
            for (u32 j = lane; j < tokens; j += WARP) own[j] = rest * own[j] * (other[j] - mean);
            __syncwarp();
            for (u32 c = lane; c < dim; c += WARP) {
                float sum = 0.0f;
                for (u32 j = 0; j < tokens; ++j) sum += own[j] * keys[j * row + c];
                add_to(dq + (at + i) * qk_step + head * dim + c, scale * sum, fresh_qk);
            }
            __syncwarp();
        }
        __syncthreads();
        // Keys and values: dk = dS^T (scale q), dv = A^T dy.
        for (u32 j = warp; j < tokens; j += warps) {
            for (u32 i = lane; i < tokens; i += WARP) {
                const float content = expf(dot(queries + i * row, keys + j * row, dim) - largest[i]) * inverse[i];
                const float of_map = dot(given + i * row, values + j * row, dim);
                own[i] = rest * content * (of_map - means[i]);
                other[i] = position ? rest * content + share * map[i * tokens + j] : content;
            }
            __syncwarp();
            for (u32 c = lane; c < dim; c += WARP) {
                float of_key = 0.0f, of_value = 0.0f;
                for (u32 i = 0; i < tokens; ++i) {
                    of_key += own[i] * queries[i * row + c];
                    of_value += other[i] * given[i * row + c];
                }
                add_to(dk + (at + j) * qk_step + head * dim + c, of_key, fresh_qk);
                add_to(dv + (at + j) * v_step + head * dim + c, of_value, fresh_v);
            }
            __syncwarp();
        }
        __syncthreads();
    }
    if (!position) return;
    of_gate = warp_sum(of_gate);
    if (lane == 0) shared[warp] = of_gate;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 w = 1; w < warps; ++w) of_gate += shared[w];
        gate_sums[blockIdx.x * heads + head] = of_gate;
    }
}

// From patch i to patch j of a grid with `cols` columns, in patches.
__device__ __forceinline__ void relative(u32 i, u32 j, u32 cols, float &dx, float &dy, float &square) {
    dx = (float)(int)(j % cols) - (float)(int)(i % cols);
    dy = (float)(int)(j / cols) - (float)(int)(i / cols);
    square = dx * dx + dy * dy;
}

// P: [heads, tokens, tokens], softmax over keys of weight . (dx, dy, dx^2 + dy^2) + bias, one warp for each row.
extern "C" __global__ void position_forward(const float *__restrict__ weight, const float *__restrict__ bias, float *__restrict__ map, u32 heads,
                                            u32 tokens, u32 cols) {
    const u32 lane = threadIdx.x % WARP, at = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (at >= heads * tokens) return;
    const u32 head = at / tokens, i = at % tokens;
    const float *w = weight + 3 * head;
    map += (u64)at * tokens;
    float largest = -3.4e38f, sum = 0.0f;
    for (u32 j = lane; j < tokens; j += WARP) {
        float dx, dy, square;
        relative(i, j, cols, dx, dy, square);
        map[j] = w[0] * dx + w[1] * dy + w[2] * square + bias[head];
        largest = fmaxf(largest, map[j]);
    }
    largest = warp_max(largest);
    for (u32 j = lane; j < tokens; j += WARP) {
        map[j] = expf(map[j] - largest);
        sum += map[j];
    }
    sum = warp_sum(sum);
    for (u32 j = lane; j < tokens; j += WARP) map[j] /= sum;
}

// The gradients of one head's weight, bias and gate from the sums of `attention_backward`, by one block: the map's is g dA.
extern "C" __global__ void position_backward(const float *__restrict__ map, const float *__restrict__ gating,
                                             const float *__restrict__ position_sums, const float *__restrict__ gate_sums, u32 parts,
                                             float *dweight, u32 fresh_weight, float *dbias, u32 fresh_bias, float *dgating,
                                             u32 fresh_gating, u32 tokens, u32 cols) {
    DYNAMIC_SHARED(shared); // [warps][4 + tokens]
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const u32 head = blockIdx.x, heads = gridDim.x;
    float *own = shared + 4 * warps + warp * tokens;
    const float share = share_of(gating, head);
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (u32 i = warp; i < tokens; i += warps) {
        const float *row = map + ((u64)head * tokens + i) * tokens;
        float mean = 0.0f;
        for (u32 j = lane; j < tokens; j += WARP) {
            float sum = 0.0f;
            for (u32 p = 0; p < parts; ++p) sum += position_sums[(((u64)p * heads + head) * tokens + i) * tokens + j];
            own[j] = share * sum;
            mean += row[j] * own[j];
        }
        mean = warp_sum(mean);
        for (u32 j = lane; j < tokens; j += WARP) {
            float dx, dy, square;
            relative(i, j, cols, dx, dy, square);
            const float of_score = row[j] * (own[j] - mean);
            sums[0] += of_score * dx;
            sums[1] += of_score * dy;
            sums[2] += of_score * square;
            sums[3] += of_score;
        }
    }
    for (u32 n = 0; n < 4; ++n) {
        sums[n] = warp_sum(sums[n]);
        if (lane == 0) shared[4 * warp + n] = sums[n];
    }
    __syncthreads();
    if (threadIdx.x < 4) {
        float sum = 0.0f;
        for (u32 w = 0; w < warps; ++w) sum += shared[4 * w + threadIdx.x];
        if (threadIdx.x < 3) add_to(dweight + 3 * head + threadIdx.x, sum, fresh_weight);
        else add_to(dbias + head, sum, fresh_bias);
    }
    if (threadIdx.x == WARP) {
        float sum = 0.0f;
        for (u32 p = 0; p < parts; ++p) sum += gate_sums[p * heads + head];
        add_to(dgating + head, sum * share * (1.0f - share), fresh_gating);
    }
}
