// What a CUDA kernel is written against, for a host compiler: g++ -std=c++17 -include machine.h -x c++ kernel.cu
//
// A block runs after the other, on one operating system thread. The threads of a block take turns: each runs until it waits for
// others or ends. So results do not depend on chance, and the order of turns can be chosen (EMULATED_ORDER): a result that depends on
// it lacks a barrier.
#pragma once
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <math.h>
#include <type_traits>
#include <utility>

#define EMULATED 1
#define __CUDA_ARCH__ 900

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
// Blocks take no turns with each other, so that one place serves all.
#define __shared__ static

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct uchar4 {
    unsigned char x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulated {
// Where the running thread stands.
extern "C" __attribute__((visibility("default"))) uint3 emulated_thread, emulated_block;
extern "C" __attribute__((visibility("default"))) dim3 emulated_block_size, emulated_grid_size;
// The block's dynamic shared memory: filled with NaN when it begins.
extern "C" __attribute__((visibility("default"))) unsigned char *emulated_shared;

extern "C" {
// Waits for all threads of the block that have not ended.
void emulated_wait_for_block();
// Waits for the lanes in `mask` and hands the words of each around. Returns those of all 32, 8 words each, valid until the next call.
const uint32_t *emulated_exchange(unsigned mask, const uint32_t *words, unsigned count);
}

// A kernel as its file offers it: how it is called with pointers to its arguments, and whether its threads ever wait.
struct Kernel {
    const char *name;
    void (*call)(void **arguments);
    bool waits;
};

template <class... A, size_t... I> void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<std::remove_reference_t<A>> *>(arguments[I])...);
}
template <class... A> void call(void (*kernel)(A...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}

inline unsigned lane() {
    const uint3 &at = emulated_thread;
    return (at.x + emulated_block_size.x * (at.y + emulated_block_size.y * at.z)) % 32;
}
// The value that lane `source` gives.
template <class T> T from_lane(unsigned mask, T value, unsigned source) {
    static_assert(sizeof(T) <= 32, "eight words are exchanged");
    uint32_t words[8] = {};
    std::memcpy(words, &value, sizeof value);
    const uint32_t *all = emulated_exchange(mask, words, (sizeof value + 3) / 4);
    std::memcpy(&value, all + 8 * (source % 32), sizeof value);
    return value;
}
template <class To, class From> To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
} // namespace emulated

#define threadIdx emulated::emulated_thread
#define blockIdx emulated::emulated_block
#define blockDim emulated::emulated_block_size
#define gridDim emulated::emulated_grid_size
constexpr int warpSize = 32;

inline void __syncthreads() { emulated::emulated_wait_for_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulated::emulated_exchange(mask, nullptr, 0); }
inline void __threadfence() {}

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const unsigned first = emulated::lane() & ~(width - 1u);
    return emulated::from_lane(mask, value, first | (source & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int = 32) {
    return emulated::from_lane(mask, value, emulated::lane() ^ bits);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = emulated::lane(), within = lane % width;
    return emulated::from_lane(mask, value, within + by < unsigned(width) ? lane + by : lane);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = emulated::lane(), within = lane % width;
    return emulated::from_lane(mask, value, within >= by ? lane - by : lane);
}

// Threads take turns only where they wait: what stands between is atomic.
template <class T, class U> T atomicAdd(T *at, U value) {
    const T old = *at;
    *at = old + static_cast<T>(value);
    return old;
}
template <class T, class U> T atomicMin(T *at, U value) {
    const T old = *at;
    if (static_cast<T>(value) < old) *at = static_cast<T>(value);
    return old;
}
template <class T, class U> T atomicMax(T *at, U value) {
    const T old = *at;
    if (old < static_cast<T>(value)) *at = static_cast<T>(value);
    return old;
}
template <class T> T atomicCAS(T *at, T expected, T value) {
    const T old = *at;
    if (old == expected) *at = value;
    return old;
}

template <class A, class B> std::common_type_t<A, B> max(A a, B b) {
    const std::common_type_t<A, B> x = a, y = b;
    return x < y ? y : x;
}
template <class A, class B> std::common_type_t<A, B> min(A a, B b) {
    const std::common_type_t<A, B> x = a, y = b;
    return y < x ? y : x;
}
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

inline unsigned __float_as_uint(float v) { return emulated::same_bits<unsigned>(v); }
inline int __float_as_int(float v) { return emulated::same_bits<int>(v); }
inline float __uint_as_float(unsigned v) { return emulated::same_bits<float>(v); }
inline float __int_as_float(int v) { return emulated::same_bits<float>(v); }
inline long long __double_as_longlong(double v) { return emulated::same_bits<long long>(v); }
inline double __longlong_as_double(long long v) { return emulated::same_bits<double>(v); }
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline float __expf(float v) { return std::exp(v); }
inline float __fdividef(float a, float b) { return a / b; }
template <class T> T __ldg(const T *from) { return *from; }
