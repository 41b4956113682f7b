// libcublas for the emulated device: what dfdx and this workspace call of it, as loops. Matrices are stored by columns.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {
long calls;
struct Report {
    ~Report() {
        if (getenv("EMULATED_REPORT")) fprintf(stderr, "emulated device: %ld calls of cuBLAS\n", calls);
    }
} report;

// Along k, products are summed in parts of so many and then the parts, as a GPU does: one long sum would lose digits.
constexpr int PART = 64;

// C = alpha op(A) op(B) + beta C: op(A) is m x k, op(B) k x n; C is not read where beta is 0.
template <class T>
int multiply(int turn_a, int turn_b, int m, int n, int k, T alpha, const T *a, int lda, const T *b, int ldb, T beta, T *c, int ldc) {
    std::vector<T> column(m), part(m);
    for (int j = 0; j < n; ++j) {
        const auto of_b = [&](int p) { return turn_b ? b[j + size_t(p) * ldb] : b[p + size_t(j) * ldb]; };
        column.assign(m, 0);
        for (int first = 0; first < k; first += PART) {
            const int end = first + PART < k ? first + PART : k;
            part.assign(m, 0);
            if (turn_a) {
                for (int i = 0; i < m; ++i)
                    for (int p = first; p < end; ++p) part[i] += a[p + size_t(i) * lda] * of_b(p);
            } else {
                for (int p = first; p < end; ++p) {
                    const T factor = of_b(p), *from = a + size_t(p) * lda;
                    for (int i = 0; i < m; ++i) part[i] += from[i] * factor;
                }
            }
            for (int i = 0; i < m; ++i) column[i] += part[i];
        }
        T *to = c + size_t(j) * ldc;
        for (int i = 0; i < m; ++i) to[i] = alpha * column[i] + (beta == 0 ? T(0) : beta * to[i]);
    }
    return 0;
}
} // namespace

extern "C" {
int cublasCreate_v2(void **handle) {
    *handle = &calls;
    return 0;
}
int cublasDestroy_v2(void *) { return 0; }
int cublasSetStream_v2(void *, void *) { return 0; }
int cublasSetMathMode(void *, int) { return 0; }

#define PRODUCTS(T, LETTER)                                                                                                              \
    int cublas##LETTER##gemm_v2(void *, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda, const T *b, int ldb,   \
                                const T *beta, T *c, int ldc) {                                                                          \
        ++calls;                                                                                                                         \
        return multiply(ta, tb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);                                                         \
    }                                                                                                                                    \
    int cublas##LETTER##gemmStridedBatched(void *, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda,             \
                                           long long step_a, const T *b, int ldb, long long step_b, const T *beta, T *c, int ldc,        \
                                           long long step_c, int batch) {                                                                \
        ++calls;                                                                                                                         \
        for (int i = 0; i < batch; ++i)                                                                                                  \
            multiply(ta, tb, m, n, k, *alpha, a + i * step_a, lda, b + i * step_b, ldb, *beta, c + i * step_c, ldc);                     \
        return 0;                                                                                                                        \
    }
PRODUCTS(float, S)
PRODUCTS(double, D)

// What cudarc names and nothing here calls: CUBLAS_STATUS_NOT_SUPPORTED.
#define NOT_HERE(name) \
    int name() { return 15; }
NOT_HERE(cublasGemmEx)
NOT_HERE(cublasGemmStridedBatchedEx)
NOT_HERE(cublasHgemm)
NOT_HERE(cublasHgemmStridedBatched)
NOT_HERE(cublasSgemv_v2)
NOT_HERE(cublasDgemv_v2)
}
