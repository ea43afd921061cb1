// torch.ops.torch_int8_linear: a linear layer whose weights are int8 and whose inputs are made int8 on the way in.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernel.h"

namespace {

constexpr int64_t kDeepest = 131072;  // 127 * 127 times that still fits in 32 bits
constexpr int64_t kGrain = 1 << 18;   // multiplications that are worth a thread

// One row of floats to whole numbers of [-127, 127], by the row's own scale, which is returned.
// A row that holds an infinity or NaN has the scale NaN, and so its results are NaN.
float quantise(const float* row, int64_t depth, int8_t* into) {
    float largest = 0;
    for (int64_t k = 0; k < depth; ++k) {
        const float size = std::fabs(row[k]);
        if (size > largest || size != size) largest = size;
    }
    if (!std::isfinite(largest)) {
        std::fill_n(into, depth, int8_t{0});
        return std::numeric_limits<float>::quiet_NaN();
    }
    const float scale = largest / 127;
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t k = 0; k < depth; ++k) {
        const float whole = std::nearbyint(row[k] * inverse);
        into[k] = static_cast<int8_t>(std::min(std::max(whole, -127.0F), 127.0F));
    }
    return scale;
}

std::vector<int64_t> check(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale,
                           const std::optional<at::Tensor>& bias) {
    TORCH_CHECK(input.scalar_type() == at::kFloat && input.dim() >= 1, "input must be float32 of one dimension or more");
    TORCH_CHECK(weight.scalar_type() == at::kChar && weight.dim() == 2, "weight must be int8 of two dimensions");
    TORCH_CHECK(input.size(-1) == weight.size(1), "input has rows of ", input.size(-1), ", weight of ", weight.size(1));
    TORCH_CHECK(weight.size(1) <= kDeepest, "rows of ", weight.size(1), " would overflow 32 bits; ", kDeepest, " is the limit");
    TORCH_CHECK(scale.scalar_type() == at::kFloat && scale.dim() == 1 && scale.size(0) == weight.size(0),
                "scale must be float32, one for each of the ", weight.size(0), " rows of weight");
    TORCH_CHECK(!bias || (bias->scalar_type() == at::kFloat && bias->dim() == 1 && bias->size(0) == weight.size(0)),
                "bias must be float32, one for each of the ", weight.size(0), " rows of weight");
    std::vector<int64_t> sizes = input.sizes().vec();
    sizes.back() = weight.size(0);
    return sizes;
}

at::Tensor int8_linear_shape(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale,
                             const std::optional<at::Tensor>& bias, bool /*relu*/) {
    return at::empty(check(input, weight, scale, bias), input.options());
}

at::Tensor int8_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale,
                       const std::optional<at::Tensor>& bias, bool relu) {
    at::Tensor result = at::empty(check(input, weight, scale, bias), input.options());
    const int64_t depth = weight.size(1), width = weight.size(0), height = depth ? input.numel() / depth : 0;
    if (result.numel() == 0) return result;
    TORCH_CHECK(depth > 0, "rows of input and weight are empty");
    const at::Tensor x = input.contiguous(), w = weight.contiguous(), s = scale.contiguous();
    const at::Tensor b = bias ? bias->contiguous() : at::Tensor();
    const float* offsets = bias ? b.const_data_ptr<float>() : nullptr;
    const float* scales = s.const_data_ptr<float>();
    const float* floats = x.const_data_ptr<float>();
    const int8_t* weights = w.const_data_ptr<int8_t>();
    float* out = result.mutable_data_ptr<float>();

    std::vector<int8_t> whole(height * depth);
    std::vector<float> steps(height);
    at::parallel_for(0, height, std::max<int64_t>(1, kGrain / depth), [&](int64_t from, int64_t to) {
        for (int64_t m = from; m < to; ++m) steps[m] = quantise(floats + m * depth, depth, &whole[m * depth]);
    });

    using kernel::columns;
    using kernel::rows;
    const int64_t down = (height + rows - 1) / rows, across = (width + columns - 1) / columns;
    const int64_t grain = std::max<int64_t>(1, kGrain / (depth * rows * columns));
    // Rows of the input go by under a few rows of the weights, which stay in the nearest cache.
    at::parallel_for(0, down * across, grain, [&](int64_t from, int64_t to) {
        for (int64_t n = from; n < to; ++n) {
            const int64_t top = n % down * rows, left = n / down * columns;
            const int8_t *a[rows], *c[columns];
            // At the edge the last row stands in for those beyond it; what it gives there is left out.
            for (int i = 0; i < rows; ++i) a[i] = &whole[std::min(top + i, height - 1) * depth];
            for (int j = 0; j < columns; ++j) c[j] = weights + std::min(left + j, width - 1) * depth;
            int32_t sums[rows][columns];
            kernel::tile(a, c, depth, sums);
            for (int64_t i = 0; i < std::min<int64_t>(rows, height - top); ++i)
                for (int64_t j = 0; j < std::min<int64_t>(columns, width - left); ++j) {
                    float value = static_cast<float>(sums[i][j]) * (steps[top + i] * scales[left + j]);
                    if (offsets) value += offsets[left + j];
                    out[(top + i) * width + left + j] = relu ? std::max(value, 0.0F) : value;
                }
        }
    });
    return result;
}

std::string kernel_name() { return kernel::name; }

}  // namespace

TORCH_LIBRARY(torch_int8_linear, library) {
    library.def("int8_linear(Tensor input, Tensor weight, Tensor scale, Tensor? bias=None, bool relu=False) -> Tensor");
    library.def("kernel() -> str", kernel_name);
}

TORCH_LIBRARY_IMPL(torch_int8_linear, CPU, library) { library.impl("int8_linear", int8_linear); }

// Shapes alone, for torch.compile and torch.export.
TORCH_LIBRARY_IMPL(torch_int8_linear, Meta, library) { library.impl("int8_linear", int8_linear_shape); }
