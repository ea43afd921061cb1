// mm, addmm, bmm, baddbmm and addmv in bf16 and fp16: where one side has few rows, and of any size on CPUs without bf16.
//
// Each function looks at what it is given; what is not ours goes to PyTorch's own kernel by a direct call (at::cpu),
// so that nothing is looked up twice. Linear layers arrive here too: torch.nn.Linear is addmm or mm.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm_cpu_dispatch.h>
#include <ATen/ops/addmv_cpu_dispatch.h>
#include <ATen/ops/baddbmm_cpu_dispatch.h>
#include <ATen/ops/bmm_cpu_dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm_cpu_dispatch.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "glue/glue.h"
#include "kernels/kernels.h"

namespace glue {
namespace {

using at::Scalar;
using at::Tensor;
using tuned::Finish;
using tuned::Half;

// How many rows are few. Each four (or two) go over all of B once more, where PyTorch packs B for a call: which is less
// work was counted (docs/evidence/kernels.md). By columns of B and by rows of B, of bf16 where it has instructions.
constexpr int64_t kFewRows = 4, kFewNativeColumns = 32, kFewNativeRows = 8, kFewHalfColumns = 8;
constexpr int64_t kColumns = 64;        // a thread takes whole blocks of columns
constexpr int64_t kTaskElements = 1 << 16;  // elements of B that are worth a thread: 128 KiB
constexpr int64_t kTaskProducts = 1 << 20;  // multiplications that are worth a thread, where these set the pace

struct Matrix {
    const uint16_t* data;
    int64_t rows, columns, row, column;  // sizes, then strides

    Matrix transposed() const { return {data, columns, rows, column, row}; }
};

const uint16_t* data_of(const Tensor& x) { return static_cast<const uint16_t*>(x.const_data_ptr()); }

std::optional<Half> half(const Tensor& x) {
    switch (x.scalar_type()) {
        case at::kBFloat16:
            return Half::bf16;
        case at::kHalf:
            return Half::fp16;
        default:
            return std::nullopt;
    }
}

bool plain(const Tensor& x) {
    return x.is_cpu() && x.layout() == at::kStrided && !x.has_names() && !x.is_neg() && !x.is_conj();
}

// Whether two factors are ours to look at closer: of one 16-bit type, and `dim` dimensions each.
bool factors(const Tensor& a, const Tensor& b, int64_t a_dim, int64_t b_dim) {
    return half(a) && a.scalar_type() == b.scalar_type() && a.dim() == a_dim && b.dim() == b_dim && plain(a) && plain(b);
}

// How a product is to be made, or nothing if it is not ours: B read by its columns or by its rows, and whether both
// sides were exchanged so that the few rows are on the left (AB = (B'A')').
struct Plan {
    bool exchanged, by_columns;
};

std::optional<Plan> plan(Half type, int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b) {
    if (m == 0 || n == 0 || k == 0) return std::nullopt;
    const bool exchanged = n < m, native = type == Half::bf16 ? tuned::native_bf16 : tuned::native_fp16;
    const int64_t few = std::min(m, n);
    const Matrix large = exchanged ? a.transposed() : b;
    const int64_t most_columns = !native ? kFewRows : type == Half::bf16 ? kFewNativeColumns : kFewHalfColumns;
    const int64_t most_rows = native && type == Half::bf16 ? kFewNativeRows : kFewRows;
    if (large.row == 1 || k == 1) return few <= most_columns ? std::optional(Plan{exchanged, true}) : std::nullopt;
    if (large.column != 1 && large.columns != 1) return std::nullopt;
    return few <= most_rows ? std::optional(Plan{exchanged, false}) : std::nullopt;
}

// Columns [from, to) of one product that has been planned.
void multiply(Half type, const Plan& how, Matrix a, Matrix b, Finish finish, int64_t from, int64_t to) {
    if (how.exchanged) {
        const Matrix left = b.transposed();
        b = a.transposed();
        a = left;
        std::swap(finish.out_row, finish.out_column);
        std::swap(finish.added_row, finish.added_column);
    }
    std::vector<uint16_t> copy;
    if (a.column != 1 && a.columns > 1) {
        copy.resize(static_cast<size_t>(a.rows * a.columns));
        for (int64_t i = 0; i < a.rows; ++i)
            for (int64_t k = 0; k < a.columns; ++k) copy[i * a.columns + k] = a.data[i * a.row + k * a.column];
        a.data = copy.data();
        a.row = a.columns;
    }
    if (how.by_columns)
        tuned::few_rows_by_columns(type, a.data, a.row, a.rows, b.data, b.column, a.columns, from, to, finish);
    else
        tuned::few_rows_by_rows(type, a.data, a.row, a.rows, b.data, b.row, a.columns, from, to, finish);
}

// A batch of products of one shape, spread over threads by blocks of columns.
template <class Left, class Right, class How>
void multiply_all(Half type, const Plan& how, int64_t batches, int64_t width, int64_t depth, const Left& left,
                  const Right& right, const How& finish) {
    const int64_t blocks = (width + kColumns - 1) / kColumns;
    const int64_t grain = std::max<int64_t>(1, kTaskElements / (std::min(width, kColumns) * depth));
    at::parallel_for(0, batches * blocks, grain, [&](int64_t begin, int64_t end) {
        while (begin < end) {
            const int64_t batch = begin / blocks, block = begin % blocks;
            const int64_t last = std::min(blocks, block + end - begin);
            multiply(type, how, left(batch), right(batch), finish(batch), block * kColumns,
                     std::min(width, last * kColumns));
            begin += last - block;
        }
    });
}

// Whether products of any size are ours, too. PyTorch's bf16 is well made where the CPU has BFMMLA, and plain loops
// elsewhere; its fp16 goes row by row everywhere (docs/evidence/kernels.md).
bool any_size(Half type) {
    static const bool bf16 = machine_has_bf16();
    return type == Half::fp16 || !bf16;
}

// A batch of products of any size, cut into blocks that threads share.
template <class Left, class Right, class How>
void multiply_wide(Half type, int64_t batches, int64_t m, int64_t n, int64_t k, const Left& left, const Right& right,
                   const How& finish) {
    int64_t height = std::min(m, tuned::wide_rows), width = std::min(n, tuned::wide_columns);
    const auto down = [&] { return (m + height - 1) / height; };
    const auto across = [&] { return (n + width - 1) / width; };
    while (batches * down() * across() < at::get_num_threads() && height * width * k / 2 >= kTaskProducts &&
           (height >= 32 || width >= 48)) {
        if (height >= 32 && 2 * height >= width)
            height = (height / 2 + 7) / 8 * 8;
        else
            width = (width / 2 + 11) / 12 * 12;
    }
    const int64_t columns = across(), blocks = down() * columns;
    const int64_t grain = std::max<int64_t>(1, kTaskProducts / (height * width * k));
    at::parallel_for(0, batches * blocks, grain, [&](int64_t begin, int64_t end) {
        const std::unique_ptr<float[]> scratch(new float[static_cast<size_t>(tuned::wide_scratch)]);
        for (int64_t task = begin; task < end; ++task) {
            const int64_t batch = task / blocks, i = task % blocks / columns * height, j = task % columns * width;
            Matrix a = left(batch), b = right(batch);
            a.data += i * a.row;
            b.data += j * b.column;
            Finish how = finish(batch);
            how.out += i * how.out_row + j * how.out_column;
            if (how.added) how.added += i * how.added_row + j * how.added_column;
            const int64_t rows = std::min(height, m - i), wide = std::min(width, n - j);
            const float* const sums = tuned::wide_sums(type, {a.data, a.row, a.column}, {b.data, b.row, b.column}, rows,
                                                       wide, k, scratch.get());
            tuned::wide_finish(type, sums, rows, wide, how);
        }
    });
}

// A tensor of one, two or three dimensions seen as [batch, rows, columns]: strides, 0 where it is repeated.
using Strides = std::array<int64_t, 3>;

std::optional<Strides> expanded(const Tensor& x, int64_t batches, int64_t rows, int64_t columns) {
    const std::array<int64_t, 3> wanted{batches, rows, columns};
    Strides strides{0, 0, 0};
    if (x.dim() > 3) return std::nullopt;
    for (int64_t i = 0; i < x.dim(); ++i) {
        const int64_t at = 3 - x.dim() + i;
        if (x.size(i) == wanted[at])
            strides[at] = x.stride(i);
        else if (x.size(i) != 1)
            return std::nullopt;
    }
    return strides;
}

// Whether the result can be written in the place of `out`: of the right size, each element once, and no factor there.
bool writable(const Tensor& out, const Tensor& a, const Tensor& b, at::IntArrayRef sizes) {
    return out.sizes() == sizes && out.scalar_type() == a.scalar_type() && plain(out) &&
           out.is_non_overlapping_and_dense() && !out.is_alias_of(a) && !out.is_alias_of(b);
}

struct Factors {
    Strides a, b;
    int64_t batches, m, k, n;
};

std::optional<Factors> factors_of(const Tensor& a, const Tensor& b) {
    const int64_t dim = a.dim();
    const int64_t batches = dim == 3 ? a.size(0) : 1;
    if (dim == 3 && b.size(0) != batches) return std::nullopt;
    const int64_t m = a.size(dim - 2), k = a.size(dim - 1), n = b.size(dim - 1);
    if (b.size(dim - 2) != k || batches == 0) return std::nullopt;
    return Factors{{dim == 3 ? a.stride(0) : 0, a.stride(dim - 2), a.stride(dim - 1)},
                   {dim == 3 ? b.stride(0) : 0, b.stride(dim - 2), b.stride(dim - 1)},
                   batches,
                   m,
                   k,
                   n};
}

// out = alpha * a b + beta * added, if it is ours. `out` may be undefined, and is made then.
bool product(const Tensor& a, const Tensor& b, const Tensor* added, float beta, float alpha, Tensor& out) {
    const std::optional<Factors> f = factors_of(a, b);
    if (!f) return false;
    const uint16_t *left = data_of(a), *right = data_of(b);
    const Matrix x{left, f->m, f->k, f->a[1], f->a[2]}, y{right, f->k, f->n, f->b[1], f->b[2]};
    const std::optional<Plan> how = plan(*half(a), f->m, f->n, f->k, x, y);
    const bool contiguous = (x.row == 1 || x.column == 1) && (y.row == 1 || y.column == 1);
    if (!how && !(any_size(*half(a)) && contiguous && f->m != 0 && f->n != 0 && f->k != 0)) return false;
    std::array<int64_t, 3> sizes{f->batches, f->m, f->n};
    const at::IntArrayRef shape = a.dim() == 3 ? at::IntArrayRef(sizes) : at::IntArrayRef(sizes).slice(1);
    Strides add{0, 0, 0};
    if (added && beta != 0) {
        const std::optional<Strides> strides = expanded(*added, f->batches, f->m, f->n);
        if (!strides || added->scalar_type() != a.scalar_type() || !plain(*added)) return false;
        add = *strides;
    }
    if (out.defined()) {
        if (!writable(out, a, b, shape)) return false;
        const bool in_place = added && added->is_alias_of(out);
        if (in_place && (added->const_data_ptr() != out.const_data_ptr() || added->strides() != out.strides() ||
                         added->sizes() != out.sizes()))
            return false;
    } else {
        out = at::empty(shape, a.options());
    }
    const std::optional<Strides> to = expanded(out, f->batches, f->m, f->n);
    uint16_t* const result = static_cast<uint16_t*>(out.mutable_data_ptr());
    const uint16_t* const extra = added && beta != 0 ? data_of(*added) : nullptr;
    const auto a_of = [&](int64_t batch) {
        return Matrix{left + batch * f->a[0], f->m, f->k, f->a[1], f->a[2]};
    };
    const auto b_of = [&](int64_t batch) {
        return Matrix{right + batch * f->b[0], f->k, f->n, f->b[1], f->b[2]};
    };
    const auto finish_of = [&](int64_t batch) {
        return Finish{alpha,  extra ? beta : 0, extra ? extra + batch * add[0] : nullptr, add[1], add[2],
                      result + batch * (*to)[0], (*to)[1], (*to)[2]};
    };
    if (how)
        multiply_all(*half(a), *how, f->batches, std::max(f->m, f->n), f->k, a_of, b_of, finish_of);
    else
        multiply_wide(*half(a), f->batches, f->m, f->n, f->k, a_of, b_of, finish_of);
    return true;
}

bool real(const Scalar& one, const Scalar& other) { return !one.isComplex() && !other.isComplex(); }

Operation mm_calls("mm");
Operation mm_out_calls("mm.out");
Operation addmm_calls("addmm");
Operation addmm_out_calls("addmm.out");
Operation addmm_in_place_calls("addmm_");
Operation bmm_calls("bmm");
Operation bmm_out_calls("bmm.out");
Operation baddbmm_calls("baddbmm");
Operation baddbmm_out_calls("baddbmm.out");
Operation baddbmm_in_place_calls("baddbmm_");
Operation addmv_calls("addmv");
Operation addmv_out_calls("addmv.out");
Operation addmv_in_place_calls("addmv_");

Tensor mm(const Tensor& a, const Tensor& b) {
    Tensor out;
    if (factors(a, b, 2, 2) && product(a, b, nullptr, 0, 1, out)) return mm_calls.served(out);
    return at::cpu::mm(a, b);
}

Tensor& mm_out(const Tensor& a, const Tensor& b, Tensor& out) {
    if (factors(a, b, 2, 2) && product(a, b, nullptr, 0, 1, out)) return mm_out_calls.served(out);
    return at::cpu::mm_outf(a, b, out);
}

Tensor addmm(const Tensor& self, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha) {
    Tensor out;
    if (factors(a, b, 2, 2) && self.dim() <= 2 && real(beta, alpha) &&
        product(a, b, &self, beta.to<float>(), alpha.to<float>(), out))
        return addmm_calls.served(out);
    return at::cpu::addmm(self, a, b, beta, alpha);
}

Tensor& addmm_out(const Tensor& self, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha,
                  Tensor& out) {
    if (factors(a, b, 2, 2) && self.dim() <= 2 && real(beta, alpha) &&
        product(a, b, &self, beta.to<float>(), alpha.to<float>(), out))
        return addmm_out_calls.served(out);
    return at::cpu::addmm_outf(self, a, b, beta, alpha, out);
}

Tensor& addmm_(Tensor& self, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha) {
    if (factors(a, b, 2, 2) && real(beta, alpha) &&
        product(a, b, &self, beta.to<float>(), alpha.to<float>(), self))
        return addmm_in_place_calls.served(self);
    return at::cpu::addmm_(self, a, b, beta, alpha);
}

Tensor bmm(const Tensor& a, const Tensor& b) {
    Tensor out;
    if (factors(a, b, 3, 3) && product(a, b, nullptr, 0, 1, out)) return bmm_calls.served(out);
    return at::cpu::bmm(a, b);
}

Tensor& bmm_out(const Tensor& a, const Tensor& b, Tensor& out) {
    if (factors(a, b, 3, 3) && product(a, b, nullptr, 0, 1, out)) return bmm_out_calls.served(out);
    return at::cpu::bmm_outf(a, b, out);
}

Tensor baddbmm(const Tensor& self, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha) {
    Tensor out;
    if (factors(a, b, 3, 3) && real(beta, alpha) &&
        product(a, b, &self, beta.to<float>(), alpha.to<float>(), out))
        return baddbmm_calls.served(out);
    return at::cpu::baddbmm(self, a, b, beta, alpha);
}

Tensor& baddbmm_out(const Tensor& self, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha,
                    Tensor& out) {
    if (factors(a, b, 3, 3) && real(beta, alpha) &&
        product(a, b, &self, beta.to<float>(), alpha.to<float>(), out))
        return baddbmm_out_calls.served(out);
    return at::cpu::baddbmm_outf(self, a, b, beta, alpha, out);
}

Tensor& baddbmm_(Tensor& self, const Tensor& a, const Tensor& b, const Scalar& beta, const Scalar& alpha) {
    if (factors(a, b, 3, 3) && real(beta, alpha) &&
        product(a, b, &self, beta.to<float>(), alpha.to<float>(), self))
        return baddbmm_in_place_calls.served(self);
    return at::cpu::baddbmm_(self, a, b, beta, alpha);
}

// A matrix times a vector: the vector as a matrix of one column. torch.mv arrives here with beta 0.
bool vector_product(const Tensor& self, const Tensor& matrix, const Tensor& vector, const Scalar& beta,
                    const Scalar& alpha, Tensor& out) {
    if (!factors(matrix, vector, 2, 1) || !real(beta, alpha) || self.dim() > 1) return false;
    if (out.defined() && out.dim() != 1) return false;
    const Tensor added = self.dim() == 1 ? self.unsqueeze(1) : self;
    Tensor result = out.defined() ? out.unsqueeze(1) : Tensor();
    if (!product(matrix, vector.unsqueeze(1), &added, beta.to<float>(), alpha.to<float>(), result)) return false;
    if (!out.defined()) out = result.squeeze(1);
    return true;
}

Tensor addmv(const Tensor& self, const Tensor& a, const Tensor& x, const Scalar& beta, const Scalar& alpha) {
    Tensor out;
    if (half(a) && vector_product(self, a, x, beta, alpha, out)) return addmv_calls.served(out);
    return at::cpu::addmv(self, a, x, beta, alpha);
}

Tensor& addmv_out(const Tensor& self, const Tensor& a, const Tensor& x, const Scalar& beta, const Scalar& alpha,
                  Tensor& out) {
    if (half(a) && vector_product(self, a, x, beta, alpha, out)) return addmv_out_calls.served(out);
    return at::cpu::addmv_outf(self, a, x, beta, alpha, out);
}

Tensor& addmv_(Tensor& self, const Tensor& a, const Tensor& x, const Scalar& beta, const Scalar& alpha) {
    if (half(a) && vector_product(self, a, x, beta, alpha, self)) return addmv_in_place_calls.served(self);
    return at::cpu::addmv_(self, a, x, beta, alpha);
}

}  // namespace

void take_products(Taken& taken) {
    taken.replace(mm_calls, TORCH_FN(mm));
    taken.replace(mm_out_calls, TORCH_FN(mm_out));
    taken.replace(addmm_calls, TORCH_FN(addmm));
    taken.replace(addmm_out_calls, TORCH_FN(addmm_out));
    taken.replace(addmm_in_place_calls, TORCH_FN(addmm_));
    taken.replace(bmm_calls, TORCH_FN(bmm));
    taken.replace(bmm_out_calls, TORCH_FN(bmm_out));
    taken.replace(baddbmm_calls, TORCH_FN(baddbmm));
    taken.replace(baddbmm_out_calls, TORCH_FN(baddbmm_out));
    taken.replace(baddbmm_in_place_calls, TORCH_FN(baddbmm_));
    taken.replace(addmv_calls, TORCH_FN(addmv));
    taken.replace(addmv_out_calls, TORCH_FN(addmv_out));
    taken.replace(addmv_in_place_calls, TORCH_FN(addmv_));
}

}  // namespace glue
