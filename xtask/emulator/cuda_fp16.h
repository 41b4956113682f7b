// CUDA's half precision, as far as dfdx's kernels ask for it: nothing here computes in it.
#pragma once
typedef _Float16 __half;
inline float __half2float(__half v) { return static_cast<float>(v); }
inline __half __float2half(float v) { return static_cast<__half>(v); }
inline unsigned short __half_as_ushort(__half v) { return emulated::same_bits<unsigned short>(v); }
inline __half __ushort_as_half(unsigned short v) { return emulated::same_bits<__half>(v); }
inline bool __hisnan(__half v) { return std::isnan(static_cast<float>(v)); }
inline __half __habs(__half v) { return static_cast<__half>(std::fabs(static_cast<float>(v))); }
inline __half __hmax(__half a, __half b) { return a < b ? b : a; }
inline __half __hmin(__half a, __half b) { return b < a ? b : a; }
inline __half __hmax_nan(__half a, __half b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b); }
inline __half __hmin_nan(__half a, __half b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b); }
inline __half hcos(__half v) { return static_cast<__half>(std::cos(static_cast<float>(v))); }
inline __half hsin(__half v) { return static_cast<__half>(std::sin(static_cast<float>(v))); }
inline __half hsqrt(__half v) { return static_cast<__half>(std::sqrt(static_cast<float>(v))); }
inline __half hexp(__half v) { return static_cast<__half>(std::exp(static_cast<float>(v))); }
inline __half hlog(__half v) { return static_cast<__half>(std::log(static_cast<float>(v))); }
