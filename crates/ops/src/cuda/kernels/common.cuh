// What all kernels begin with. No header is included: NVRTC compiles the text where the program runs.
//
// Rows are row-major; sums are made in an order that only sizes decide, so that the same numbers give the same bits. Gradients are
// added to, or begun where they are `fresh`: what is in a fresh one is anything.
#ifdef EMULATED
#define DYNAMIC_SHARED(name) float *name = reinterpret_cast<float *>(emulated::emulated_shared)
#else
#define DYNAMIC_SHARED(name) extern __shared__ float name[]
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

#define WARP 32
#define ALL_LANES 0xffffffffu

// The numbers of all lanes, in each lane.
__device__ __forceinline__ float warp_sum(float v) {
    for (u32 bits = WARP / 2; bits > 0; bits /= 2) v += __shfl_xor_sync(ALL_LANES, v, bits);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
    for (u32 bits = WARP / 2; bits > 0; bits /= 2) v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, bits));
    return v;
}

__device__ __forceinline__ void add_to(float *to, float value, u32 fresh) { *to = fresh ? value : *to + value; }

// Each thread's number among those of the whole grid, and how many there are.
#define EACH(i, count) for (u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x; i < (count); i += (u64)gridDim.x * blockDim.x)
