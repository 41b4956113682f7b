// The device as its driver sees it.
#pragma once
#include "machine.h"

namespace emulated {
// Errors of the driver's interface.
constexpr int INVALID_VALUE = 1, LAUNCH_FAILED = 719;
// Shared memory that a block may have at the most on compute capability 9.0.
constexpr size_t SHARED_BYTES = 227 << 10;

// Runs a kernel to its end; 0 or an error.
int launch(const Kernel &kernel, dim3 grid, dim3 block, size_t shared_bytes, void **arguments);
} // namespace emulated
