// The products in bf16 and fp16 that PyTorch's own operations make inside: attention, convolutions by columns, and
// whatever else oneDNN refuses. They end in a stub whose kernels are plain loops.
//
// BLAS counts by columns: C (m x n) = alpha op(A) op(B) + beta C. Seen by rows that is C' = op(B)' op(A)'.

#include "glue/stub.h"

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <torch/csrc/api/include/torch/version.h>

#include <algorithm>
#include <memory>

#include "kernels/kernels.h"

namespace glue {
namespace {

using at::Scalar;
using at::ScalarType;
using at::native::TransposeType;
using tuned::HalfMatrix;

constexpr int64_t kTaskProducts = 1 << 20;  // multiplications that are worth a thread

Operation gemm_calls("cpublas::gemm"), wide_gemm_calls("cpublas::gemm, result in fp32");

bool half(ScalarType type) { return type == at::kBFloat16 || type == at::kHalf; }

bool real(const Scalar& one, const Scalar& other) { return !one.isComplex() && !other.isComplex(); }

// Blocks of C', of `rows` x `columns`; write(sums, i, j, height, width) puts one in its place.
template <class Write>
void blocks(ScalarType type, TransposeType transa, TransposeType transb, int64_t columns, int64_t rows, int64_t k,
            const void* a, int64_t lda, const void* b, int64_t ldb, const Write& write) {
    const auto as_is = [](TransposeType one) { return one == TransposeType::NoTranspose; };
    const HalfMatrix left{static_cast<const uint16_t*>(b), as_is(transb) ? ldb : 1, as_is(transb) ? 1 : ldb};
    const HalfMatrix right{static_cast<const uint16_t*>(a), as_is(transa) ? lda : 1, as_is(transa) ? 1 : lda};
    const tuned::Half kind = type == at::kHalf ? tuned::Half::fp16 : tuned::Half::bf16;
    const int64_t across = (columns + tuned::wide_columns - 1) / tuned::wide_columns;
    const int64_t down = (rows + tuned::wide_rows - 1) / tuned::wide_rows;
    const int64_t one = std::min(rows, tuned::wide_rows) * std::min(columns, tuned::wide_columns) * k;
    at::parallel_for(0, down * across, std::max<int64_t>(1, kTaskProducts / one), [&](int64_t begin, int64_t end) {
        const std::unique_ptr<float[]> scratch(new float[static_cast<size_t>(tuned::wide_scratch)]);
        for (int64_t task = begin; task < end; ++task) {
            const int64_t i = task / across * tuned::wide_rows, j = task % across * tuned::wide_columns;
            const int64_t height = std::min(tuned::wide_rows, rows - i);
            const int64_t width = std::min(tuned::wide_columns, columns - j);
            const HalfMatrix x{left.data + i * left.row, left.row, left.column};
            const HalfMatrix y{right.data + j * right.column, right.row, right.column};
            write(kind, tuned::wide_sums(kind, x, y, height, width, k, scratch.get()), i, j, height, width);
        }
    });
}

void gemm(ScalarType type, TransposeType transa, TransposeType transb, int64_t m, int64_t n, int64_t k,
          const Scalar& alpha, const void* a, int64_t lda, const void* b, int64_t ldb, const Scalar& beta, void* c,
          int64_t ldc) {
    if (!half(type) || m <= 0 || n <= 0 || k <= 0 || !real(alpha, beta))
        return Place<std::remove_reference_t<decltype(at::native::cpublas::gemm_stub)>>::stock(
            type, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    auto* const out = static_cast<uint16_t*>(c);
    const float scale = alpha.to<float>(), kept = beta.to<float>();
    blocks(type, transa, transb, m, n, k, a, lda, b, ldb,
           [&](tuned::Half kind, const float* sums, int64_t i, int64_t j, int64_t height, int64_t width) {
               uint16_t* const to = out + i * ldc + j;
               tuned::wide_finish(kind, sums, height, width, {scale, kept, to, ldc, 1, to, ldc, 1});
           });
    gemm_calls.count();
}

// 2.6 has no such stub, 2.9 has.
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 9
#define WIDE_GEMM
void wide_gemm(ScalarType type, TransposeType transa, TransposeType transb, int64_t m, int64_t n, int64_t k,
               const Scalar& alpha, const void* a, int64_t lda, const void* b, int64_t ldb, const Scalar& beta, void* c,
               int64_t ldc) {
    if (!half(type) || m <= 0 || n <= 0 || k <= 0 || !real(alpha, beta))
        return Place<std::remove_reference_t<decltype(at::native::cpublas::gemm_no_downcast_stub)>>::stock(
            type, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    auto* const out = static_cast<float*>(c);
    const float scale = alpha.to<float>(), kept = beta.to<float>();
    blocks(type, transa, transb, m, n, k, a, lda, b, ldb,
           [&](tuned::Half, const float* sums, int64_t i, int64_t j, int64_t height, int64_t width) {
               tuned::wide_finish(sums, height, width, scale, kept, out + i * ldc + j, ldc);
           });
    wide_gemm_calls.count();
}
#endif

}  // namespace

void take_gemm(Taken& taken) {
    take(taken, at::native::cpublas::gemm_stub, gemm, gemm_calls);
#ifdef WIDE_GEMM
    take(taken, at::native::cpublas::gemm_no_downcast_stub, wide_gemm, wide_gemm_calls);
#endif
}

}  // namespace glue
