// What the kernels offer to the glue: plain functions on plain memory. Nothing here knows PyTorch.
//
// The files of this folder are compiled for one CPU (-mcpu), those of `glue` for any 64-bit Arm. So nothing here may
// run before `supported` has said that the machine has what they were compiled for: no constructor, no static object
// that is made at run time.

#pragma once

#include <cstdint>

namespace tuned {

// The bits of AT_HWCAP and AT_HWCAP2 (Linux, Documentation/arch/arm64/elf_hwcaps.rst) that the compiled code needs.
extern const uint64_t needed_hwcap, needed_hwcap2;

// Which instructions each family of kernels was compiled to, for people.
extern const char* const products_bf16;
extern const char* const products_fp16;
extern const char* const products_int8;
extern const char* const elementwise;

// The same for the glue's choices: whether a type is multiplied by instructions of its own, or widened to fp32.
extern const bool native_bf16, native_fp16;
// Whether functions of fp32 run in SVE vectors.
extern const bool scalable;

enum class Half { bf16, fp16 };

// What becomes of a sum: out[i][j] = alpha * sum + beta * added[i][j], rounded once to the 16-bit type. Strides count
// elements. `added` may be `out` itself; with beta 0 it is not read.
struct Finish {
    float alpha = 1, beta = 0;
    const uint16_t* added = nullptr;
    int64_t added_row = 0, added_column = 0;
    uint16_t* out = nullptr;
    int64_t out_row = 0, out_column = 0;
};

// Columns [from, to) of out = A B for few rows of A: row i of A is a + i * lda, contiguous in its `depth` elements.
// Column j of B is b + j * ldb, contiguous. Sums are in fp32; their order depends on neither `from` nor `to`.
void few_rows_by_columns(Half type, const uint16_t* a, int64_t lda, int64_t rows, const uint16_t* b, int64_t ldb,
                         int64_t depth, int64_t from, int64_t to, const Finish& finish);

// The same where row k of B is contiguous: b + k * ldb.
void few_rows_by_rows(Half type, const uint16_t* a, int64_t lda, int64_t rows, const uint16_t* b, int64_t ldb,
                      int64_t depth, int64_t from, int64_t to, const Finish& finish);

// A matrix of a 16-bit type whose rows (`column` is 1) or columns (`row` is 1) are contiguous; strides count elements.
struct HalfMatrix {
    const uint16_t* data;
    int64_t row, column;
};

// Products of any size for CPUs whose 16-bit types have no product of their own: widened to fp32 while they are packed.
// A caller cuts the result into blocks of at most these rows and columns, and lends `wide_scratch` floats for each.
constexpr int64_t wide_rows = 96, wide_columns = 192;
extern const int64_t wide_scratch;

// One block: sums of A B in fp32, row i at sums + i * wide_columns. `sums` is the first part of `scratch`.
const float* wide_sums(Half type, const HalfMatrix& a, const HalfMatrix& b, int64_t m, int64_t n, int64_t k,
                       float* scratch);

// Rounds such sums into the result.
void wide_finish(Half type, const float* sums, int64_t m, int64_t n, const Finish& finish);

// The same for a result in fp32: out[i][j] = alpha * sum + beta * out[i][j], row i at out + i * ldo.
void wide_finish(const float* sums, int64_t m, int64_t n, float alpha, float beta, float* out, int64_t ldo);

// A matrix of int8 whose rows (`column` is 1) or columns (`row` is 1) are contiguous; strides count elements.
struct Int8Matrix {
    const int8_t* data;
    int64_t row, column;
};

// out = A B, exact modulo 2^32, for A of m x k and B of k x n; row i of the result begins at out + i * ldo. The rows of
// A are contiguous. Returns false, and writes nothing, if there is no memory for the packed operands.
bool int8_product(const Int8Matrix& a, const Int8Matrix& b, int64_t m, int64_t n, int64_t k, int32_t* out, int64_t ldo);

enum class Element { fp32, bf16, fp16 };
enum class Function { exp, sigmoid, silu, tanh, erf, gelu, gelu_tanh };

// out[i] = f(in[i]) for n contiguous values; `out` may be `in`. In fp32 within 3 ulp of the exact value (sigmoid, silu:
// 4; erf: 2; gelu: 3 ulp of |x| / 2), results of sigmoid and silu below 2^-120 apart; 16-bit types round that once.
void unary(Function function, Element type, const void* in, void* out, int64_t n);

// Softmax, or its logarithm, of each of `rows` contiguous rows of n values. `scratch` has n + 4 floats.
void softmax_rows(Element type, const void* in, void* out, int64_t rows, int64_t n, float* scratch, bool logarithm);

// Max pooling of planes: the size of a plane and of its result, and the window in its two directions.
struct Pooling {
    int64_t height, width, out_height, out_width;
    int64_t window_height, window_width, step_height, step_width, pad_height, pad_width, gap_height, gap_width;
};

// One plane, with the place of each largest value in it (row * width + column). A NaN is larger than any number; of
// equal values the first counts, of several NaN the last. A plane has fewer than 2^31 values.
void max_pool(Element type, const void* in, void* out, int64_t* index, const Pooling& how);

}  // namespace tuned
