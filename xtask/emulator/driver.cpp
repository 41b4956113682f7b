// libcuda for the emulated device. Its memory is the host's, filled with NaN where nothing has been written; copies are held against
// the buffers they touch, and what is written past a buffer's end is found when it is freed.
//
// EMULATED_REPORT=1 prints at the end what was asked of the device, 2 each kernel too; EMULATED_TRACE=1 prints every launch.
#include "device.h"

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <string>

using emulated::INVALID_VALUE;
using emulated::Kernel;

namespace {
typedef unsigned long long Address;

constexpr int OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, NOT_FOUND = 500, NOT_SUPPORTED = 801;
constexpr size_t GUARD = 64;
constexpr unsigned char GUARDED = 0xa5;

struct Module {
    std::map<std::string, const Kernel *> kernels;
};

struct Counts {
    long launches = 0, allocations = 0, uploads = 0, downloads = 0, copies = 0, fills = 0, waits = 0;
};

// One device; its calls come from any thread.
struct Device {
    std::recursive_mutex lock;
    Counts counts;
    std::map<std::string, long> launches;
    std::map<Address, size_t> buffers;
    size_t bytes = 0, most_bytes = 0;
    const bool trace = getenv("EMULATED_TRACE") != nullptr;

    ~Device() {
        const char *report = getenv("EMULATED_REPORT");
        if (!report) return;
        fprintf(stderr,
                "emulated device: %ld launches, %ld allocations, %ld uploads, %ld downloads, %ld copies, %ld fills, %ld waits; "
                "%.1f MB at the most, %zu buffers left\n",
                counts.launches, counts.allocations, counts.uploads, counts.downloads, counts.copies, counts.fills, counts.waits,
                most_bytes / 1e6, buffers.size());
        if (atoi(report) < 2) return;
        for (const auto &[name, times] : launches) fprintf(stderr, "emulated device: %8ld %s\n", times, name.c_str());
    }

    int allocate(Address *address, size_t size) {
        constexpr size_t ALIGNED = 256;
        unsigned char *memory = static_cast<unsigned char *>(aligned_alloc(ALIGNED, (size + GUARD + ALIGNED - 1) / ALIGNED * ALIGNED));
        if (!memory) return OUT_OF_MEMORY;
        std::fill_n(memory, size, 0xff);
        std::fill_n(memory + size, GUARD, GUARDED);
        *address = reinterpret_cast<Address>(memory);
        buffers[*address] = size;
        ++counts.allocations;
        bytes += size;
        most_bytes = std::max(most_bytes, bytes);
        return 0;
    }

    int release(Address address) {
        if (!address) return 0;
        const auto at = buffers.find(address);
        if (at == buffers.end()) {
            fprintf(stderr, "emulated device: %#llx is freed and was not allocated\n", address);
            return INVALID_VALUE;
        }
        const size_t size = at->second;
        unsigned char *memory = reinterpret_cast<unsigned char *>(address);
        if (std::any_of(memory + size, memory + size + GUARD, [](unsigned char byte) { return byte != GUARDED; })) {
            fprintf(stderr, "emulated device: a kernel wrote past the end of a buffer of %zu bytes\n", size);
            abort();
        }
        std::fill_n(memory, size, 0xff);
        free(memory);
        bytes -= size;
        buffers.erase(at);
        return 0;
    }

    // Whether the bytes are all in one buffer.
    bool has(Address address, size_t size) const {
        auto after = buffers.upper_bound(address);
        if (after == buffers.begin()) return false;
        const auto &[begin, length] = *--after;
        return address + size <= begin + length;
    }
};

Device &device() {
    static Device only;
    return only;
}
typedef std::lock_guard<std::recursive_mutex> Guard;

template <class T> T *host(Address address) { return reinterpret_cast<T *>(address); }

int copy(long Counts::*count, void *to, const void *from, size_t size, bool inside) {
    Device &own = device();
    ++(own.counts.*count);
    if (!inside) {
        fprintf(stderr, "emulated device: a copy of %zu bytes leaves its buffer\n", size);
        return INVALID_VALUE;
    }
    std::memcpy(to, from, size);
    return 0;
}
} // namespace

extern "C" {
int cuGetErrorName(int error, const char **name) {
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR_EMULATED";
    return 0;
}
int cuGetErrorString(int, const char **text) {
    *text = "an error of the emulated device";
    return 0;
}
int cuInit(unsigned) {
    // As on a machine without a GPU.
    const char *devices = getenv("EMULATED_DEVICES");
    return devices && !atoi(devices) ? 100 : 0;
}
int cuDriverGetVersion(int *version) {
    *version = 13000;
    return 0;
}
int cuDeviceGetCount(int *count) {
    *count = 1;
    return 0;
}
int cuDeviceGet(int *handle, int ordinal) {
    *handle = 0;
    return ordinal ? 101 : 0;
}
int cuDeviceGetName(char *name, int size, int) {
    snprintf(name, size, "emulated device");
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = size_t(80) << 30;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int) {
    enum { WARP_SIZE = 10, MULTIPROCESSORS = 16, MAJOR = 75, MINOR = 76, SHARED_OPT_IN = 97, POOLS = 115 };
    switch (attribute) {
    case WARP_SIZE: *value = 32; break;
    case MULTIPROCESSORS: *value = 132; break;
    case MAJOR: *value = 9; break;
    case MINOR: *value = 0; break;
    case SHARED_OPT_IN: *value = emulated::SHARED_BYTES; break;
    case POOLS: *value = 1; break;
    default: *value = 1;
    }
    return 0;
}
// Handles are told apart by nobody.
int cuDevicePrimaryCtxRetain(void **context, int) {
    *context = &device();
    return 0;
}
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void *) { return 0; }
int cuCtxGetCurrent(void **context) { return cuDevicePrimaryCtxRetain(context, 0); }
int cuCtxSynchronize() {
    ++device().counts.waits;
    return 0;
}
int cuStreamCreate(void **stream, unsigned) {
    *stream = &device();
    return 0;
}
int cuStreamDestroy_v2(void *) { return 0; }
int cuStreamWaitEvent(void *, void *, unsigned) { return 0; }
int cuStreamSynchronize(void *) { return cuCtxSynchronize(); }
int cuEventCreate(void **event, unsigned) {
    *event = &device();
    return 0;
}
int cuEventDestroy_v2(void *) { return 0; }
int cuEventRecord(void *, void *) { return 0; }
int cuEventSynchronize(void *) { return cuCtxSynchronize(); }
// Everything is done when its call returns.
int cuEventQuery(void *) { return 0; }
int cuEventElapsedTime(float *milliseconds, void *, void *) {
    *milliseconds = 1;
    return 0;
}

// Of nothing, a pool gives an address and the driver itself an error.
int cuMemAllocAsync(Address *address, size_t size, void *) {
    Guard guard(device().lock);
    return device().allocate(address, size);
}
int cuMemAlloc_v2(Address *address, size_t size) { return size ? cuMemAllocAsync(address, size, nullptr) : INVALID_VALUE; }
int cuMemFree_v2(Address address) {
    Guard guard(device().lock);
    return device().release(address);
}
int cuMemAllocHost_v2(void **memory, size_t size) {
    *memory = malloc(size);
    return *memory ? 0 : OUT_OF_MEMORY;
}
int cuMemFreeHost(void *memory) {
    free(memory);
    return 0;
}
int cuMemFreeAsync(Address address, void *) { return cuMemFree_v2(address); }
int cuMemGetInfo_v2(size_t *unused, size_t *all) {
    *all = size_t(80) << 30;
    *unused = *all - device().bytes;
    return 0;
}
int cuDeviceGetDefaultMemPool(void **pool, int) {
    *pool = &device();
    return 0;
}
int cuMemPoolSetAttribute(void *, int, void *) { return 0; }
int cuMemcpyHtoD_v2(Address to, const void *from, size_t size) {
    Guard guard(device().lock);
    return copy(&Counts::uploads, host<void>(to), from, size, device().has(to, size));
}
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, void *) { return cuMemcpyHtoD_v2(to, from, size); }
int cuMemcpyDtoH_v2(void *to, Address from, size_t size) {
    Guard guard(device().lock);
    return copy(&Counts::downloads, to, host<void>(from), size, device().has(from, size));
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, void *) { return cuMemcpyDtoH_v2(to, from, size); }
int cuMemcpyDtoD_v2(Address to, Address from, size_t size) {
    Guard guard(device().lock);
    return copy(&Counts::copies, host<void>(to), host<void>(from), size, device().has(to, size) && device().has(from, size));
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, void *) { return cuMemcpyDtoD_v2(to, from, size); }
int cuMemsetD8_v2(Address to, unsigned char byte, size_t size) {
    Guard guard(device().lock);
    ++device().counts.fills;
    if (!device().has(to, size)) return INVALID_VALUE;
    std::fill_n(host<unsigned char>(to), size, byte);
    return 0;
}
int cuMemsetD8Async(Address to, unsigned char byte, size_t size, void *) { return cuMemsetD8_v2(to, byte, size); }

// An image names the library of its kernels: `// emulated: PATH`.
int cuModuleLoadData(void **handle, const void *image) {
    Guard guard(device().lock);
    const char *text = static_cast<const char *>(image), *mark = "// emulated: ";
    const char *begin = strstr(text, mark);
    if (!begin) {
        fprintf(stderr, "emulated device: these kernels were compiled for a GPU\n");
        return INVALID_IMAGE;
    }
    begin += strlen(mark);
    const std::string path(begin, strcspn(begin, "\n"));
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    const auto kernels = library ? reinterpret_cast<const Kernel *(*)()>(dlsym(library, "emulated_kernels")) : nullptr;
    if (!kernels) {
        fprintf(stderr, "emulated device: %s\n", dlerror());
        return INVALID_IMAGE;
    }
    Module *module = new Module;
    for (const Kernel *kernel = kernels(); kernel->name; ++kernel) module->kernels[kernel->name] = kernel;
    *handle = module;
    return 0;
}
int cuModuleLoad(void **, const char *) { return NOT_SUPPORTED; }
int cuModuleUnload(void *module) {
    delete static_cast<Module *>(module);
    return 0;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    const auto &kernels = static_cast<Module *>(module)->kernels;
    const auto found = kernels.find(name);
    if (found == kernels.end()) return NOT_FOUND;
    *function = const_cast<Kernel *>(found->second);
    return 0;
}
int cuFuncSetAttribute(void *, int, int) { return 0; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *,
                   void **arguments, void **) {
    Device &own = device();
    Guard guard(own.lock);
    const Kernel &kernel = *static_cast<const Kernel *>(function);
    ++own.counts.launches;
    ++own.launches[kernel.name];
    if (own.trace)
        fprintf(stderr, "emulated device: %s <<<(%u, %u, %u), (%u, %u, %u), %u>>>\n", kernel.name, gx, gy, gz, bx, by, bz, shared);
    return emulated::launch(kernel, dim3(gx, gy, gz), dim3(bx, by, bz), shared, arguments);
}

// What cudarc names and nothing here calls.
#define NOT_HERE(name) \
    int name() { return NOT_SUPPORTED; }
NOT_HERE(cuDestroyExternalMemory)
NOT_HERE(cuExternalMemoryGetMappedBuffer)
NOT_HERE(cuImportExternalMemory)
NOT_HERE(cuOccupancyAvailableDynamicSMemPerBlock)
NOT_HERE(cuOccupancyMaxActiveBlocksPerMultiprocessor)
NOT_HERE(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
NOT_HERE(cuOccupancyMaxActiveClusters)
NOT_HERE(cuOccupancyMaxPotentialBlockSize)
NOT_HERE(cuOccupancyMaxPotentialBlockSizeWithFlags)
NOT_HERE(cuOccupancyMaxPotentialClusterSize)
NOT_HERE(cuProfilerStart)
NOT_HERE(cuProfilerStop)
}
