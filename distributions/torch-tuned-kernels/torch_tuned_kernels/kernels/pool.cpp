// Max pooling, four results at once: their windows go over the plane together, and each keeps its largest value and
// that value's place. Results whose window reaches beyond the plane are made one by one.

#include <algorithm>

#include "kernels/bf16.h"
#include "kernels/fp16.h"
#include "kernels/kernels.h"

namespace tuned {
namespace {

// How four values, `step` apart, are read and the largest are written. Widening and narrowing back lose nothing.
struct Singles {
    using Stored = float;
    static float32x4_t load(const float* p) { return vld1q_f32(p); }
    static float32x4_t load_even(const float* p) { return vld2q_f32(p).val[0]; }
    static float widen(float x) { return x; }
    static void store(float* p, float32x4_t x) { vst1q_f32(p, x); }
    static void store(float* p, float x) { *p = x; }
};

template <class Numbers>
struct Halves {
    using Stored = uint16_t;
    static float32x4_t load(const uint16_t* p) {
        const uint16x4_t x = vld1_u16(p);
        return Numbers::widen_low(vcombine_u16(x, x));
    }
    static float32x4_t load_even(const uint16_t* p) {
        const uint16x4_t x = vld2_u16(p).val[0];
        return Numbers::widen_low(vcombine_u16(x, x));
    }
    static float widen(uint16_t x) { return Numbers::widen(x); }
    static void store(uint16_t* p, float32x4_t x) { vst1_u16(p, Numbers::narrow(x)); }
    static void store(uint16_t* p, float x) { *p = vget_lane_u16(Numbers::narrow(vdupq_n_f32(x)), 0); }
};

// The first position of a window from `start` on that is not before the plane, `gap` apart.
int64_t inside(int64_t start, int64_t gap) { return start >= 0 ? start : start + (-start + gap - 1) / gap * gap; }

template <class M>
void one(const typename M::Stored* in, typename M::Stored* out, int64_t* index, int64_t top, int64_t bottom,
         int64_t left, int64_t right, const Pooling& how) {
    float most = -__builtin_inff();
    int64_t at = top * how.width + left;
    for (int64_t i = top; i < bottom; i += how.gap_height)
        for (int64_t j = left; j < right; j += how.gap_width) {
            const float value = M::widen(in[i * how.width + j]);
            if (value > most || value != value) most = value, at = i * how.width + j;
        }
    M::store(out, most);
    *index = at;
}

// Four results whose windows lie within the columns; `in` is the first value of the first one's upper row. `columns` is
// the width of the window, 0 where it is not known. Without a NaN in the plane a comparison and a maximum are enough.
template <class M, int step, bool nan, int columns>
void four(const typename M::Stored* in, typename M::Stored* out, int64_t* index, int64_t rows, int32_t place,
          const Pooling& how) {
    static const int32_t lanes[4] = {0, 1, 2, 3};
    const int64_t width = columns ? columns : how.window_width;
    const int32x4_t gap = vdupq_n_s32(static_cast<int32_t>(how.gap_width));
    const int32x4_t down = vdupq_n_s32(static_cast<int32_t>(how.gap_height * how.width - width * how.gap_width));
    float32x4_t most = vdupq_n_f32(-__builtin_inff());
    int32x4_t here = vmlaq_n_s32(vdupq_n_s32(place), vld1q_s32(lanes), step), at = here;
    for (int64_t i = 0; i < rows; ++i, in += how.gap_height * how.width, here = vaddq_s32(here, down))
        for (int64_t j = 0; j < width; ++j, here = vaddq_s32(here, gap)) {
            const typename M::Stored* const p = in + j * how.gap_width;
            const float32x4_t value = step == 1 ? M::load(p) : M::load_even(p);
            uint32x4_t larger = vcgtq_f32(value, most);
            if (nan) larger = vornq_u32(larger, vceqq_f32(value, value));
            most = nan ? vbslq_f32(larger, value, most) : vmaxq_f32(most, value);
            at = vbslq_s32(larger, here, at);
        }
    M::store(out, most);
    vst1q_s64(index, vmovl_s32(vget_low_s32(at)));
    vst1q_s64(index + 2, vmovl_high_s32(at));
}

template <class M>
bool has_nan(const typename M::Stored* in, int64_t n) {
    uint32x4_t numbers = vdupq_n_u32(~0U);
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t x = M::load(in + i);
        numbers = vandq_u32(numbers, vceqq_f32(x, x));
    }
    bool found = vminvq_u32(numbers) == 0;
    for (; i < n; ++i) {
        const float x = M::widen(in[i]);
        found |= x != x;
    }
    return found;
}

template <class M, bool nan, int columns>
void plane(const typename M::Stored* in, typename M::Stored* out, int64_t* index, const Pooling& how) {
    const int64_t step = how.step_width, reach = (how.window_width - 1) * how.gap_width;
    // From `first` on no window begins before the plane. The last four results of a row may overlap those before.
    const int64_t first = std::min(how.out_width, (how.pad_width + step - 1) / step);
    const int64_t size = how.height * how.width;
    for (int64_t row = 0; row < how.out_height; ++row, out += how.out_width, index += how.out_width) {
        const int64_t above = row * how.step_height - how.pad_height, top = inside(above, how.gap_height);
        const int64_t bottom = std::min(how.height, above + (how.window_height - 1) * how.gap_height + 1);
        const int64_t rows = top < bottom ? (bottom - top + how.gap_height - 1) / how.gap_height : 0;
        for (int64_t j = 0; j < how.out_width;) {
            const int64_t at = j + 4 > how.out_width ? std::max(first, how.out_width - 4) : j;
            const int64_t left = at * step - how.pad_width, place = top * how.width + left;
            // Columns that count lie within the row; all that is read, which may be one value more, within the plane.
            const bool four_fit = j >= first && at + 4 <= how.out_width && rows > 0 && step <= 2 &&
                                  left + 3 * step + reach < how.width &&
                                  place + (rows - 1) * how.gap_height * how.width + reach + 4 * step <= size;
            if (four_fit) {
                if (step == 1)
                    four<M, 1, nan, columns>(in + place, out + at, index + at, rows, static_cast<int32_t>(place), how);
                else
                    four<M, 2, nan, columns>(in + place, out + at, index + at, rows, static_cast<int32_t>(place), how);
                j = at + 4;
            } else {
                const int64_t before = j * step - how.pad_width;
                one<M>(in, out + j, index + j, top, bottom, inside(before, how.gap_width),
                       std::min(how.width, before + reach + 1), how);
                ++j;
            }
        }
    }
}

template <class M>
void plane(const typename M::Stored* in, typename M::Stored* out, int64_t* index, const Pooling& how) {
    if (has_nan<M>(in, how.height * how.width)) return plane<M, true, 0>(in, out, index, how);
    if (how.window_width == 2) return plane<M, false, 2>(in, out, index, how);
    if (how.window_width == 3) return plane<M, false, 3>(in, out, index, how);
    plane<M, false, 0>(in, out, index, how);
}

}  // namespace

void max_pool(Element type, const void* in, void* out, int64_t* index, const Pooling& how) {
    const auto* const halves = static_cast<const uint16_t*>(in);
    if (type == Element::fp32)
        plane<Singles>(static_cast<const float*>(in), static_cast<float*>(out), index, how);
    else if (type == Element::bf16)
        plane<Halves<Bf16Numbers>>(halves, static_cast<uint16_t*>(out), index, how);
    else
        plane<Halves<Fp16Numbers>>(halves, static_cast<uint16_t*>(out), index, how);
}

}  // namespace tuned
