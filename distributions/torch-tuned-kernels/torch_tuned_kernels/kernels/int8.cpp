// The product of two int8 matrices, by blocks that stay in the caches.

#include "kernels/int8.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/kernels.h"

namespace tuned {
namespace {

constexpr int64_t kDepth = 2048;  // k at once: a panel of B stays in the first cache, packed rows of A in the second

int64_t up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

}  // namespace

const char* const products_int8 = Int8Tile::name;

bool int8_product(const Int8Matrix& a, const Int8Matrix& b, int64_t m, int64_t n, int64_t k, int32_t* out, int64_t ldo) {
    using T = Int8Tile;
    const int64_t across = T::columns(), most = up(std::min(k, kDepth), T::unit);
    const int64_t left = up(m, T::rows) * most, right = across * most;
    auto* const packed = static_cast<T::Packed*>(std::malloc(static_cast<size_t>(left + right) * sizeof(T::Packed)));
    if (!packed) return false;
    T::Packed* const panel = packed + left;
    for (int64_t first = 0; first < k; first += kDepth) {
        const int64_t depth = std::min(kDepth, k - first), padded = up(depth, T::unit);
        for (int64_t i = 0; i < m; i += T::rows)
            T::pack_rows(a.data + i * a.row + first, a.row, m - i, depth, packed + i * padded);
        for (int64_t j = 0; j < n; j += across) {
            T::pack_columns(b.data + first * b.row + j * b.column, b.row, b.column, n - j, depth, panel);
            for (int64_t i = 0; i < m; i += T::rows) {
                int32_t* const to = out + i * ldo + j;
                if (i + T::rows <= m && j + across <= n) {
                    T::multiply(packed + i * padded, panel, padded, first > 0, to, ldo);
                    continue;
                }
                int32_t tile[T::rows * T::most_columns];
                T::multiply(packed + i * padded, panel, padded, false, tile, across);
                for (int64_t r = 0; r < std::min<int64_t>(T::rows, m - i); ++r)
                    for (int64_t c = 0; c < std::min(across, n - j); ++c) {
                        const uint32_t before = first > 0 ? static_cast<uint32_t>(to[r * ldo + c]) : 0;
                        to[r * ldo + c] = static_cast<int32_t>(before + static_cast<uint32_t>(tile[r * across + c]));
                    }
            }
        }
    }
    std::free(packed);
    return true;
}

}  // namespace tuned
