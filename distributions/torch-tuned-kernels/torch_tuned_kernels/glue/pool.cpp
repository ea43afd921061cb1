// Max pooling in two dimensions, of tensors that are contiguous by planes. Others go to PyTorch's kernel.

#include "glue/stub.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/Pool.h>

#include <algorithm>
#include <limits>

#include "kernels/kernels.h"

namespace glue {
namespace {

using at::Tensor;
using tuned::Element;

constexpr int64_t kGrain = 16384;  // values read that are worth a thread

Operation max_pool_calls("max_pool2d_with_indices");

bool run(const Tensor& out, const Tensor& index, const Tensor& in, tuned::Pooling how) {
    const auto type = in.scalar_type();
    if ((type != at::kFloat && type != at::kBFloat16 && type != at::kHalf) || out.scalar_type() != type ||
        index.scalar_type() != at::kLong || in.dim() < 3 || !in.is_contiguous() || !out.is_contiguous() ||
        !index.is_contiguous() || in.numel() == 0 || out.numel() == 0)
        return false;
    how.height = in.size(-2), how.width = in.size(-1), how.out_height = out.size(-2), how.out_width = out.size(-1);
    const int64_t from = how.height * how.width, to = how.out_height * how.out_width;
    if (from >= std::numeric_limits<int32_t>::max()) return false;
    const Element element = type == at::kFloat ? Element::fp32 : type == at::kHalf ? Element::fp16 : Element::bf16;
    const auto size = static_cast<int64_t>(in.element_size());
    const auto* const x = static_cast<const char*>(in.const_data_ptr());
    auto* const y = static_cast<char*>(out.mutable_data_ptr());
    auto* const places = index.mutable_data_ptr<int64_t>();
    const int64_t each = std::max<int64_t>(1, to * how.window_height * how.window_width);
    at::parallel_for(0, in.numel() / from, std::max<int64_t>(1, kGrain / each), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
            tuned::max_pool(element, x + i * from * size, y + i * to * size, places + i * to, how);
    });
    return true;
}

void max_pool(const Tensor& out, const Tensor& index, const Tensor& in, int kW, int kH, int dW, int dH, int padW,
              int padH, int dilationW, int dilationH) {
    if (run(out, index, in, {0, 0, 0, 0, kH, kW, dH, dW, padH, padW, dilationH, dilationW}))
        max_pool_calls.count();
    else
        Place<std::remove_reference_t<decltype(at::native::max_pool2d_kernel)>>::stock(
            out, index, in, kW, kH, dW, dH, padW, padH, dilationW, dilationH);
}

}  // namespace

void take_pool(Taken& taken) { take(taken, at::native::max_pool2d_kernel, max_pool, max_pool_calls); }

}  // namespace glue
