// What the files of this folder share. They know PyTorch and the kernels; they are compiled for any 64-bit Arm.

#pragma once

#include <torch/library.h>

#include <atomic>
#include <functional>
#include <string>
#include <vector>

namespace glue {

// Whether this machine has what the kernels were compiled for; if not, `why` says what it lacks.
bool supported(std::string& why);

// Whether the machine multiplies bf16 by instructions of its own (BFDOT, BFMMLA), whatever the kernels do.
bool machine_has_bf16();

// An operation of torch.ops.aten that is taken over, and how many calls our kernel has served itself.
struct Operation {
    const char* name;
    std::atomic<int64_t> calls{0};

    explicit Operation(const char* spelled) : name(spelled) {}

    void count() { calls.fetch_add(1, std::memory_order_relaxed); }

    // Counts a call and hands its result on.
    template <class Result>
    Result&& served(Result&& result) {
        count();
        return std::forward<Result>(result);
    }
};

// What is taken over: kernels at the dispatch key CPU, below autograd, and those that PyTorch's own kernels call through
// a stub. Destroying it gives all back.
struct Taken {
    ~Taken() {
        for (const std::function<void()>& one : undo) one();
    }

    torch::Library aten{torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__};
    std::vector<const Operation*> operations;
    std::vector<std::function<void()>> undo;

    template <class Function>
    void replace(const Operation& operation, Function function) {
        aten.impl(operation.name, function);
        operations.push_back(&operation);
    }
};

void take_products(Taken& taken);
void take_int8(Taken& taken);
void take_elementwise(Taken& taken);
void take_gemm(Taken& taken);
void take_pool(Taken& taken);
void take_attention(Taken& taken);
void take_convolution(Taken& taken);

}  // namespace glue
