// Attention in 16 bits where the CPU, or PyTorch for this CPU, has no products of that type: PyTorch's own kernel in
// fp32. It is well made, and to widen queries, keys and values once costs little beside it.

#include "glue/stub.h"

#include <ATen/core/Tensor.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/empty_strided.h>

#include <optional>

namespace glue {
namespace {

using at::Tensor;

Operation attention_calls("_scaled_dot_product_flash_attention_for_cpu");

bool slow(at::ScalarType type) { return type == at::kHalf || (type == at::kBFloat16 && !machine_has_bf16()); }

void attention(const Tensor& output, const Tensor& logsumexp, const Tensor& query, const Tensor& key,
               const Tensor& value, double dropout_p, bool is_causal, std::optional<Tensor> attn_mask,
               std::optional<double> scale) {
    const auto stock = Place<std::remove_reference_t<decltype(at::native::flash_attention_kernel)>>::stock;
    const at::ScalarType type = query.scalar_type();
    if (!slow(type) || key.scalar_type() != type || value.scalar_type() != type || output.scalar_type() != type)
        return stock(output, logsumexp, query, key, value, dropout_p, is_causal, attn_mask, scale);
    if (attn_mask && attn_mask->defined() && attn_mask->scalar_type() == type) attn_mask = attn_mask->to(at::kFloat);
    const Tensor wide = at::empty_strided(output.sizes(), output.strides(), output.options().dtype(at::kFloat));
    stock(wide, logsumexp, query.to(at::kFloat), key.to(at::kFloat), value.to(at::kFloat), dropout_p, is_causal,
          attn_mask, scale);
    output.copy_(wide);
    attention_calls.count();
}

}  // namespace

void take_attention(Taken& taken) { take(taken, at::native::flash_attention_kernel, attention, attention_calls); }

}  // namespace glue
