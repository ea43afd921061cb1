// Convolutions in 16 bits, forward and backward, in fp32: PyTorch has good kernels for fp32 and, on Arm, mostly
// reference code for bf16 and fp16. Convolutions in groups go group by group, as their kernels are reference code in
// fp32, too. To widen the factors once costs little beside the products.
//
// `_convolution` lies below autograd and under every function that convolves, transposed ones too. It chooses among
// kernels by the type it is given, so that it is called again with the wide factors.

#include <ATen/core/Tensor.h>
#include <ATen/ops/_convolution_compositeexplicitautograd_dispatch.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/convolution_backward_compositeexplicitautograd_dispatch.h>

#include <torch/csrc/api/include/torch/version.h>

#include <array>
#include <optional>
#include <tuple>
#include <vector>

#include "glue/glue.h"

namespace glue {
namespace {

using at::IntArrayRef;
using at::Tensor;

Operation forward_calls("_convolution"), backward_calls("convolution_backward");

// All that a convolution is told beside its tensors.
struct How {
    IntArrayRef stride, padding, dilation;
    bool transposed;
    IntArrayRef output_padding;
    int64_t groups;
    bool benchmark = false, deterministic = false, cudnn = false, tf32 = false;
};

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

Tensor stock(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const How& how, int64_t groups) {
    return at::compositeexplicitautograd::_convolution(x, weight, bias, how.stride, how.padding, how.dilation,
                                                       how.transposed, how.output_padding, groups, how.benchmark,
                                                       how.deterministic, how.cudnn, how.tf32);
}

Gradients stock(const Tensor& from, const Tensor& x, const Tensor& weight, at::OptionalIntArrayRef bias_sizes,
                const How& how, int64_t groups, std::array<bool, 3> wanted) {
    return at::compositeexplicitautograd::convolution_backward(from, x, weight, bias_sizes, how.stride, how.padding,
                                                               how.dilation, how.transposed, how.output_padding, groups,
                                                               wanted);
}

bool is(const Tensor& x, at::ScalarType type) {
    return x.scalar_type() == type && x.is_cpu() && x.layout() == at::kStrided && x.numel() != 0;
}

// Whether input and weight are of one 16-bit type; whether their sizes fit is for PyTorch to say.
bool ours(const Tensor& x, const Tensor& weight) {
    const at::ScalarType type = x.scalar_type();
    return (type == at::kBFloat16 || type == at::kHalf) && is(x, type) && is(weight, type);
}

// PyTorch's dense 3 x 3 in bf16 is well made in 2.9 where the CPU has BFMMLA (docs/evidence/kernels.md), and reference code
// in 2.6 (docs/evidence/bench.md).
constexpr bool kRecent = TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 9;

bool well_made(const Tensor& x, const Tensor& weight, bool transposed, int64_t groups) {
    return kRecent && x.scalar_type() == at::kBFloat16 && machine_has_bf16() && !transposed && groups == 1 &&
           weight.dim() == 4 && weight.size(2) * weight.size(3) > 1;
}

// Whether groups of more than a channel can be cut apart. One channel each, a depthwise convolution, has its own kernel.
bool in_groups(const Tensor& x, const Tensor& weight, int64_t groups) {
    return groups > 1 && x.dim() >= 3 && x.dim() == weight.dim() && weight.size(0) % groups == 0 &&
           x.size(1) % groups == 0 && x.size(1) > groups;
}

// The part of a tensor that belongs to a group: its share of dimension `dim`.
Tensor part(const Tensor& all, int64_t dim, int64_t groups, int64_t group) {
    const int64_t size = all.size(dim) / groups;
    return all.narrow(dim, group * size, size);
}

Tensor convolve(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const How& how) {
    if (!in_groups(x, weight, how.groups) || (bias && (bias->dim() != 1 || bias->size(0) % how.groups != 0)))
        return stock(x, weight, bias, how, how.groups);
    std::vector<Tensor> results;
    for (int64_t i = 0; i < how.groups; ++i)
        results.push_back(stock(part(x, 1, how.groups, i), part(weight, 0, how.groups, i),
                                bias ? std::optional(part(*bias, 0, how.groups, i)) : bias, how, 1));
    return at::cat(results, 1);
}

Gradients gradients(const Tensor& from, const Tensor& x, const Tensor& weight, at::OptionalIntArrayRef bias_sizes,
                    const How& how, std::array<bool, 3> wanted) {
    if (!in_groups(x, weight, how.groups) || from.dim() < 2 || from.size(1) % how.groups != 0)
        return stock(from, x, weight, bias_sizes, how, how.groups, wanted);
    std::array<std::vector<Tensor>, 3> results;
    const int64_t bias_size = from.size(1) / how.groups;
    for (int64_t i = 0; i < how.groups; ++i) {
        const auto [of_x, of_weight, of_bias] =
            stock(part(from, 1, how.groups, i), part(x, 1, how.groups, i), part(weight, 0, how.groups, i),
                  bias_sizes ? at::OptionalIntArrayRef(bias_size) : bias_sizes, how, 1, wanted);
        results[0].push_back(of_x);
        results[1].push_back(of_weight);
        results[2].push_back(of_bias);
    }
    const auto whole = [&](size_t i, int64_t dim) { return wanted[i] ? at::cat(results[i], dim) : Tensor(); };
    return {whole(0, 1), whole(1, 0), whole(2, 0)};
}

Tensor forward(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, IntArrayRef stride,
               IntArrayRef padding, IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups,
               bool benchmark, bool deterministic, bool cudnn, bool tf32) {
    const How how{stride, padding, dilation, transposed, output_padding, groups, benchmark, deterministic, cudnn, tf32};
    const bool biased = bias && bias->defined();
    if (!ours(x, weight) || (biased && !is(*bias, x.scalar_type())) || well_made(x, weight, transposed, groups))
        return stock(x, weight, bias, how, groups);
    // The bias is added before the result is rounded.
    const std::optional<Tensor> wide = biased ? std::optional(bias->to(at::kFloat)) : std::nullopt;
    return forward_calls.served(
        convolve(x.to(at::kFloat), weight.to(at::kFloat), wide, how).to(x.scalar_type()));
}

Gradients backward(const Tensor& from, const Tensor& x, const Tensor& weight, at::OptionalIntArrayRef bias_sizes,
                   IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, bool transposed,
                   IntArrayRef output_padding, int64_t groups, std::array<bool, 3> wanted) {
    const How how{stride, padding, dilation, transposed, output_padding, groups};
    const at::ScalarType type = x.scalar_type();
    if (!ours(x, weight) || !is(from, type)) return stock(from, x, weight, bias_sizes, how, groups, wanted);
    const auto [of_x, of_weight, of_bias] =
        gradients(from.to(at::kFloat), x.to(at::kFloat), weight.to(at::kFloat), bias_sizes, how, wanted);
    const auto narrow = [&](const Tensor& wide) { return wide.defined() ? wide.to(type) : wide; };
    return backward_calls.served(Gradients{narrow(of_x), narrow(of_weight), narrow(of_bias)});
}

}  // namespace

void take_convolution(Taken& taken) {
    taken.replace(forward_calls, TORCH_FN(forward));
    taken.replace(backward_calls, TORCH_FN(backward));
}

}  // namespace glue
