// A DispatchStub holds the kernel that suits the CPU, and PyTorch's own operations call it there, below the dispatcher.

#pragma once

// The wheel was compiled with these (aten/src/ATen/native/DispatchStub.h); without them its class has another shape.
#define HAVE_SVE256_CPU_DEFINITION
#define HAVE_ARM_BF16_CPU_DEFINITION

#include <ATen/native/DispatchStub.h>

#include <type_traits>

#include "glue/glue.h"

namespace glue {

using at::native::DispatchStubImpl;

// What a stub had before, and puts it back.
template <class Stub>
struct Place {
    static inline typename Stub::FnPtr stock = nullptr;

    static DispatchStubImpl& inside(Stub& stub) {
        // The one member of the class is private; a pointer to a standard-layout object points to its first member.
        static_assert(std::is_standard_layout_v<Stub> && sizeof(Stub) == sizeof(DispatchStubImpl));
        return *reinterpret_cast<DispatchStubImpl*>(&stub);
    }

    static void take(Taken& taken, Stub& stub, typename Stub::FnPtr ours, const Operation& operation) {
        DispatchStubImpl& held = inside(stub);
        stock = reinterpret_cast<typename Stub::FnPtr>(held.get_call_ptr(
            at::kCPU, reinterpret_cast<void*>(Stub::DEFAULT), reinterpret_cast<void*>(Stub::SVE256)));
        held.cpu_dispatch_ptr.store(reinterpret_cast<void*>(ours));
        taken.undo.emplace_back([&held] { held.cpu_dispatch_ptr.store(reinterpret_cast<void*>(stock)); });
        taken.operations.push_back(&operation);
    }
};

template <class Stub>
void take(Taken& taken, Stub& stub, typename Stub::FnPtr ours, const Operation& operation) {
    Place<Stub>::take(taken, stub, ours, operation);
}

}  // namespace glue
