// torch._int_mm: the product of two int8 matrices, summed in int32.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_int_mm_native.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>

#include "glue/glue.h"
#include "kernels/kernels.h"

namespace glue {
namespace {

using at::Tensor;

constexpr int64_t kTaskProducts = 1 << 20;  // multiplications that are worth a thread
constexpr int64_t kBlock = 256;             // rows and columns of a task at most: both sides are packed once for it
constexpr int64_t kLeast = 32;

bool ours(const Tensor& a, const Tensor& b) {
    return a.scalar_type() == at::kChar && b.scalar_type() == at::kChar && a.dim() == 2 && b.dim() == 2 && a.is_cpu() &&
           b.is_cpu() && a.layout() == at::kStrided && b.layout() == at::kStrided && a.size(1) == b.size(0) &&
           a.numel() != 0 && b.numel() != 0;
}

bool product(const Tensor& left, const Tensor& right, const Tensor& out) {
    const Tensor a = left.stride(1) == 1 ? left : left.contiguous();
    const Tensor b = right.stride(0) == 1 || right.stride(1) == 1 ? right : right.contiguous();
    const int64_t m = a.size(0), k = a.size(1), n = b.size(1);
    const auto* const x = a.const_data_ptr<int8_t>();
    const auto* const y = b.const_data_ptr<int8_t>();
    const int64_t a_row = a.stride(0), b_row = b.stride(0), b_column = b.stride(1);
    auto* const to = out.mutable_data_ptr<int32_t>();
    // Blocks as large as the caches take, and smaller ones where threads would be without work.
    int64_t height = std::min(m, kBlock), width = std::min(n, kBlock);
    const auto tasks = [&] { return ((m + height - 1) / height) * ((n + width - 1) / width); };
    while (tasks() < at::get_num_threads() && height * width * k / 2 >= kTaskProducts &&
           std::max(height, width) >= 2 * kLeast) {
        int64_t& longer = height > width ? height : width;
        longer = (longer / 2 + kLeast - 1) / kLeast * kLeast;
    }
    const int64_t across = (n + width - 1) / width;
    std::atomic<bool> good{true};
    at::parallel_for(0, tasks(), 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
            const int64_t i = task / across * height, j = task % across * width;
            if (!tuned::int8_product({x + i * a_row, a_row, 1}, {y + j * b_column, b_row, b_column},
                                     std::min(height, m - i), std::min(width, n - j), k, to + i * n + j, n))
                good = false;
        }
    });
    return good;
}

Operation int_mm_calls("_int_mm");
Operation int_mm_out_calls("_int_mm.out");

Tensor int_mm(const Tensor& a, const Tensor& b) {
    if (ours(a, b)) {
        Tensor out = at::empty({a.size(0), b.size(1)}, a.options().dtype(at::kInt));
        if (product(a, b, out)) return int_mm_calls.served(out);
    }
    return at::native::_int_mm_cpu(a, b);
}

Tensor& int_mm_out(const Tensor& a, const Tensor& b, Tensor& out) {
    if (ours(a, b) && out.scalar_type() == at::kInt && out.is_cpu() && out.layout() == at::kStrided &&
        out.is_contiguous() && out.sizes() == at::IntArrayRef({a.size(0), b.size(1)}) && !out.is_alias_of(a) &&
        !out.is_alias_of(b) && product(a, b, out))
        return int_mm_out_calls.served(out);
    return at::native::_int_mm_out_cpu(a, b, out);
}

}  // namespace

void take_int8(Taken& taken) {
    taken.replace(int_mm_calls, TORCH_FN(int_mm));
    taken.replace(int_mm_out_calls, TORCH_FN(int_mm_out));
}

}  // namespace glue
