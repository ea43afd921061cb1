// exp, sigmoid, tanh, erf, silu, gelu, and softmax along the last dimension.
//
// PyTorch's operations prepare an iterator (types, strides, overlaps, out=, in place) and call a kernel through a stub.
// Ours stands there instead, so that every variant of an operation reaches it and nothing is prepared twice.

#include "glue/stub.h"

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/native/Activation.h>
#include <ATen/native/UnaryOps.h>
#include <ATen/native/cpu/SoftmaxKernel.h>
#include <ATen/ops/gelu_cpu_dispatch.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "kernels/kernels.h"

namespace glue {
namespace {

using at::Tensor;
using at::TensorIteratorBase;
using tuned::Element;
using tuned::Function;

constexpr int64_t kGrain = 16384;  // values that are worth a thread

std::optional<Element> element(at::ScalarType type) {
    switch (type) {
        case at::kFloat:
            return Element::fp32;
        case at::kBFloat16:
            return Element::bf16;
        case at::kHalf:
            return Element::fp16;
        default:
            return std::nullopt;
    }
}

// Values that lie apart are gathered into a buffer of this many.
constexpr int64_t kGathered = 256;

void strided(Function function, Element type, size_t size, char* out, int64_t to, const char* in, int64_t from,
             int64_t n) {
    alignas(16) char buffer[kGathered * sizeof(float)];
    for (int64_t i = 0; i < n; i += kGathered) {
        const int64_t count = std::min(kGathered, n - i);
        for (int64_t j = 0; j < count; ++j) std::memcpy(buffer + j * size, in + (i + j) * from, size);
        tuned::unary(function, type, buffer, buffer, count);
        for (int64_t j = 0; j < count; ++j) std::memcpy(out + (i + j) * to, buffer + j * size, size);
    }
}

bool run(TensorIteratorBase& iter, Function function) {
    const std::optional<Element> type = element(iter.dtype(0));
    if (!type || iter.ninputs() != 1 || iter.noutputs() != 1 || iter.dtype(1) != iter.dtype(0)) return false;
    const auto size = static_cast<int64_t>(iter.element_size(0));
    iter.for_each(
        [&](char** data, const int64_t* strides, int64_t n) {
            if (strides[0] == size && strides[1] == size)
                tuned::unary(function, *type, data[1], data[0], n);
            else
                strided(function, *type, static_cast<size_t>(size), data[0], strides[0], data[1], strides[1], n);
        },
        kGrain);
    return true;
}

Operation exp_calls("exp"), sigmoid_calls("sigmoid"), tanh_calls("tanh"), erf_calls("erf"), silu_calls("silu");
Operation gelu_calls("gelu"), gelu_out_calls("gelu.out"), gelu_in_place_calls("gelu_");
Operation softmax_calls("_softmax"), log_softmax_calls("_log_softmax");

#define UNARY(name, function, stub)                                                   \
    void name(TensorIteratorBase& iter) {                                             \
        if (run(iter, function))                                                      \
            name##_calls.count();                                                     \
        else                                                                          \
            Place<std::remove_reference_t<decltype(stub)>>::stock(iter);              \
    }

UNARY(exp, Function::exp, at::native::exp_stub)
UNARY(sigmoid, Function::sigmoid, at::native::sigmoid_stub)
UNARY(tanh, Function::tanh, at::native::tanh_stub)
UNARY(erf, Function::erf, at::native::erf_stub)
UNARY(silu, Function::silu, at::native::silu_stub)

#undef UNARY

// PyTorch sends gelu to oneDNN before it would reach a stub, so it is taken over at the dispatcher.
std::optional<Function> gelu_form(const Tensor& self, c10::string_view approximate) {
    if (!element(self.scalar_type()) || self.layout() != at::kStrided || self.has_names()) return std::nullopt;
    // In fp32 oneDNN's own is better than ours by Advanced SIMD.
    if (approximate == "none" && self.scalar_type() == at::kFloat && !tuned::scalable) return std::nullopt;
    if (approximate == "none") return Function::gelu;
    if (approximate == "tanh") return Function::gelu_tanh;
    return std::nullopt;
}

Tensor gelu(const Tensor& self, c10::string_view approximate) {
    if (const std::optional<Function> form = gelu_form(self, approximate)) {
        Tensor none;  // made by the iterator
        at::TensorIterator iter = at::TensorIterator::unary_op(none, self);
        if (run(iter, *form)) return gelu_calls.served(Tensor(iter.output()));
    }
    return at::cpu::gelu(self, approximate);
}

Tensor& gelu_out(const Tensor& self, c10::string_view approximate, Tensor& out) {
    const std::optional<Function> form = gelu_form(self, approximate);
    if (form && out.scalar_type() == self.scalar_type() && out.sizes() == self.sizes()) {
        at::TensorIterator iter = at::TensorIterator::unary_op(out, self);
        if (run(iter, *form)) return gelu_out_calls.served(out);
    }
    return at::cpu::gelu_outf(self, approximate, out);
}

Tensor& gelu_in_place(Tensor& self, c10::string_view approximate) {
    if (const std::optional<Function> form = gelu_form(self, approximate)) {
        at::TensorIterator iter = at::TensorIterator::unary_op(self, self);
        if (run(iter, *form)) return gelu_in_place_calls.served(self);
    }
    return at::cpu::gelu_(self, approximate);
}

bool rows(const Tensor& out, const Tensor& in, bool logarithm) {
    const std::optional<Element> type = element(in.scalar_type());
    if (!type || out.scalar_type() != in.scalar_type() || !in.is_contiguous() || !out.is_contiguous() ||
        out.sizes() != in.sizes() || in.dim() == 0 || in.numel() == 0)
        return false;
    const int64_t width = in.size(-1), height = in.numel() / width;
    const auto size = static_cast<int64_t>(in.element_size());
    const char* const from = static_cast<const char*>(in.const_data_ptr());
    char* const to = static_cast<char*>(out.mutable_data_ptr());
    at::parallel_for(0, height, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
        const std::unique_ptr<float[]> scratch(new float[static_cast<size_t>(width + 4)]);
        const int64_t at = begin * width * size;
        tuned::softmax_rows(*type, from + at, to + at, end - begin, width, scratch.get(), logarithm);
    });
    return true;
}

void softmax(const Tensor& out, const Tensor& in) {
    if (rows(out, in, false))
        softmax_calls.count();
    else
        Place<std::remove_reference_t<decltype(at::native::softmax_lastdim_kernel)>>::stock(out, in);
}

void log_softmax(const Tensor& out, const Tensor& in) {
    if (rows(out, in, true))
        log_softmax_calls.count();
    else
        Place<std::remove_reference_t<decltype(at::native::log_softmax_lastdim_kernel)>>::stock(out, in);
}

}  // namespace

void take_elementwise(Taken& taken) {
    take(taken, at::native::exp_stub, exp, exp_calls);
    take(taken, at::native::sigmoid_stub, sigmoid, sigmoid_calls);
    take(taken, at::native::tanh_stub, tanh, tanh_calls);
    take(taken, at::native::erf_stub, erf, erf_calls);
    take(taken, at::native::silu_stub, silu, silu_calls);
    taken.replace(gelu_calls, TORCH_FN(gelu));
    taken.replace(gelu_out_calls, TORCH_FN(gelu_out));
    taken.replace(gelu_in_place_calls, TORCH_FN(gelu_in_place));
    take(taken, at::native::softmax_lastdim_kernel, softmax, softmax_calls);
    take(taken, at::native::log_softmax_lastdim_kernel, log_softmax, log_softmax_calls);
}

}  // namespace glue
