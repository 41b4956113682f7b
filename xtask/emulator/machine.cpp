// Runs kernels of machine.h. Each thread of a block that waits has a stack of its own, and turns pass from one to the other.
#include "device.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <vector>

using namespace emulated;

uint3 emulated::emulated_thread, emulated::emulated_block;
dim3 emulated::emulated_block_size, emulated::emulated_grid_size;
unsigned char *emulated::emulated_shared;

namespace {
enum class State : unsigned char { Fresh, Ready, WaitsForBlock, WaitsForWarp, Ended };

struct Thread {
    void *stack_pointer = nullptr;
    char *stack = nullptr;
    State state = State::Fresh;
    unsigned mask = 0;
    // Which of a warp's two sets of words it used last: one is read while the next is filled.
    unsigned set = 0;
    uint3 index{};
};

constexpr size_t STACK = 256 << 10;
std::vector<char *> spare_stacks;
std::vector<Thread> threads;
std::vector<uint32_t> words; // [warp][set][lane][8]
void *main_stack_pointer;
unsigned running;
void (*kernel)(void **);
void **kernel_arguments;

#if !defined(__x86_64__)
#error "the emulated device switches between stacks by x86-64 instructions"
#endif
// Saves what a function must keep and the stack pointer, then goes on with the other stack.
extern "C" void emulated_switch(void **saved, void *next);
asm(R"(
.text
.globl emulated_switch
.type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

void give_turn_up(State state) {
    Thread &own = threads[running];
    own.state = state;
    emulated_switch(&own.stack_pointer, main_stack_pointer);
}

void first_turn() {
    kernel(kernel_arguments);
    give_turn_up(State::Ended);
    abort(); // nobody takes an ended thread up again
}

void take_turn(unsigned number) {
    Thread &thread = threads[number];
    if (thread.state == State::Fresh) {
        if (spare_stacks.empty()) {
            void *memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (memory == MAP_FAILED) {
                perror("emulated device: no memory for a thread's stack");
                abort();
            }
            spare_stacks.push_back(static_cast<char *>(memory));
        }
        thread.stack = spare_stacks.back();
        spare_stacks.pop_back();
        // What `emulated_switch` takes from it: six registers and where to begin, aligned as after a call.
        void **top = reinterpret_cast<void **>(thread.stack + STACK) - 8;
        std::fill_n(top, 8, nullptr);
        top[6] = reinterpret_cast<void *>(first_turn);
        thread.stack_pointer = top;
    }
    thread.state = State::Ready;
    running = number;
    emulated_thread = thread.index;
    emulated_switch(&main_stack_pointer, thread.stack_pointer);
    if (thread.state == State::Ended) spare_stacks.push_back(thread.stack);
}

uint3 index_of(unsigned number, const dim3 &size) {
    return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}

// The order of turns: as they are numbered, the other way round, or one that changes from round to round.
enum Order { Forwards, Backwards, Changing };
unsigned in_order(Order order, unsigned i, unsigned count, unsigned round) {
    switch (order) {
    case Backwards: return count - 1 - i;
    case Changing: {
        const unsigned first = (round + 1) * 2654435761u % count;
        return round % 2 ? (first + count - i) % count : (first + i) % count;
    }
    default: return i;
    }
}

bool wakes_warps(unsigned count) {
    bool woke = false;
    for (unsigned first = 0; first < count; first += 32) {
        const unsigned lanes = std::min(32u, count - first);
        unsigned waiting = 0, alive = 0;
        for (unsigned lane = 0; lane < lanes; ++lane) {
            const State state = threads[first + lane].state;
            waiting |= unsigned(state == State::WaitsForWarp) << lane;
            alive |= unsigned(state != State::Ended) << lane;
        }
        for (unsigned lane = 0; lane < lanes; ++lane) {
            Thread &thread = threads[first + lane];
            const unsigned awaited = thread.mask & alive;
            if ((waiting >> lane & 1) && (waiting & awaited) == awaited) {
                thread.state = State::Ready;
                woke = true;
            }
        }
    }
    return woke;
}

// All threads of one block, in turns. False if some wait for others that never come.
bool run_block(unsigned count, const dim3 &size, Order order) {
    threads.assign(count, Thread());
    for (unsigned i = 0; i < count; ++i) threads[i].index = index_of(i, size);
    for (unsigned round = 0;; ++round) {
        for (unsigned i = 0; i < count; ++i) {
            const unsigned number = in_order(order, i, count, round);
            if (threads[number].state <= State::Ready) take_turn(number);
        }
        if (wakes_warps(count)) continue;
        unsigned at_barrier = 0, ended = 0;
        for (const Thread &thread : threads) {
            at_barrier += thread.state == State::WaitsForBlock;
            ended += thread.state == State::Ended;
        }
        if (ended == count) return true;
        if (at_barrier + ended < count) return false;
        for (Thread &thread : threads)
            if (thread.state == State::WaitsForBlock) thread.state = State::Ready;
    }
}
} // namespace

void emulated::emulated_wait_for_block() { give_turn_up(State::WaitsForBlock); }

const uint32_t *emulated::emulated_exchange(unsigned mask, const uint32_t *own, unsigned count) {
    Thread &thread = threads[running];
    uint32_t *all = &words[(running / 32 * 2 + thread.set) * 32 * 8];
    std::copy_n(own, count, all + running % 32 * 8);
    thread.set ^= 1;
    thread.mask = mask;
    give_turn_up(State::WaitsForWarp);
    return all;
}

int emulated::launch(const Kernel &function, dim3 grid, dim3 block, size_t shared_bytes, void **arguments) {
    static std::vector<unsigned char> shared;
    static const char *chosen = getenv("EMULATED_ORDER");
    static const Order order = chosen ? static_cast<Order>(atoi(chosen) % 3) : Forwards;
    const uint64_t count = uint64_t(block.x) * block.y * block.z;
    const bool fits = grid.x && grid.y && grid.z && grid.x <= 0x7fffffff && grid.y <= 65535 && grid.z <= 65535;
    if (!fits || !count || count > 1024 || block.z > 64 || shared_bytes > SHARED_BYTES) return INVALID_VALUE;
    constexpr size_t ALIGNED = 128;
    shared.resize(shared_bytes + ALIGNED);
    emulated_shared = shared.data() + (ALIGNED - reinterpret_cast<uintptr_t>(shared.data()) % ALIGNED) % ALIGNED;
    emulated_block_size = block;
    emulated_grid_size = grid;
    kernel = function.call;
    kernel_arguments = arguments;
    words.resize((count + 31) / 32 * 2 * 32 * 8);
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                emulated_block = {x, y, z};
                std::fill_n(emulated_shared, shared_bytes, 0xff);
                if (!function.waits) {
                    for (unsigned i = 0; i < count; ++i) {
                        emulated_thread = index_of(in_order(order, i, count, x), block);
                        function.call(arguments);
                    }
                } else if (!run_block(count, block, order)) {
                    fprintf(stderr, "emulated device: in `%s`, threads wait for others that never come\n", function.name);
                    return LAUNCH_FAILED;
                }
            }
    return 0;
}
