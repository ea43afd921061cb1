// Functions of each value, and softmax along rows, in fp32, bf16 and fp16. All arithmetic is in fp32.

#include <algorithm>
#include <cmath>

#include "kernels/fp32.h"
#include "kernels/kernels.h"

namespace tuned {
namespace {

// fp32 in memory.
struct Single {
    using Stored = float;
    template <class S>
    static typename S::V load(typename S::Active on, const Stored* p) {
        return S::load(on, p);
    }
    template <class S>
    static void store(typename S::Active on, Stored* p, typename S::V x) {
        S::store(on, p, x);
    }
};

// A 16-bit type in memory.
template <class Numbers>
struct Halved {
    using Stored = uint16_t;
    template <class S>
    static typename S::V load(typename S::Active on, const Stored* p) {
        return S::load(on, static_cast<const Numbers*>(nullptr), p);
    }
    template <class S>
    static void store(typename S::Active on, Stored* p, typename S::V x) {
        S::store(on, static_cast<const Numbers*>(nullptr), p, x);
    }
};

// The values behind the last whole vector, where a vector cannot be cut short (Advanced SIMD): in a vector of their own.
template <class T>
struct Edge {
    T values[4] = {};
    Edge(const T* from, int64_t n) { std::copy(from, from + n, values); }
};

// Whether one of four vectors has a value beyond what `exp_ordinary` takes.
template <class S>
bool extraordinary(typename S::V a, typename S::V b, typename S::V c, typename S::V d) {
    const typename S::V ab = S::max_number(S::abs(a), S::abs(b)), cd = S::max_number(S::abs(c), S::abs(d));
    return S::any(S::greater(S::max_number(ab, cd), S::all(kOrdinary)));
}

// Four vectors at once share the loads of the constants, which GCC 12 repeats in every round of a loop. Functions with
// more constants than fit into registers gain nothing by it.
template <class F, class M, bool ordinary>
void four(typename Best::V a, typename Best::V b, typename Best::V c, typename Best::V d, typename M::Stored* out) {
    using S = Best;
    const int64_t width = S::width();
    const auto on = S::every();
    M::template store<S>(on, out, F::template of<S, ordinary>(a));
    M::template store<S>(on, out + width, F::template of<S, ordinary>(b));
    M::template store<S>(on, out + 2 * width, F::template of<S, ordinary>(c));
    M::template store<S>(on, out + 3 * width, F::template of<S, ordinary>(d));
}

template <class F, class M>
void apply(const void* from, void* to, int64_t n) {
    using S = Best;
    using T = typename M::Stored;
    const T* in = static_cast<const T*>(from);
    T* out = static_cast<T*>(to);
    const int64_t whole = S::whole(n), width = S::width();
    int64_t i = 0;
    for (; F::asks && i + 4 * width <= n; i += 4 * width) {
        const auto on = S::every();
        const auto a = M::template load<S>(on, in + i), b = M::template load<S>(on, in + i + width);
        const auto c = M::template load<S>(on, in + i + 2 * width), d = M::template load<S>(on, in + i + 3 * width);
        if (__builtin_expect(extraordinary<S>(a, b, c, d), 0))
            four<F, M, false>(a, b, c, d, out + i);
        else
            four<F, M, true>(a, b, c, d, out + i);
    }
    for (; i < whole; i += width) {
        const auto on = S::active(i, n);
        M::template store<S>(on, out + i, F::template of<S, false>(M::template load<S>(on, in + i)));
    }
    if (whole < n) {
        Edge<T> edge(in + whole, n - whole);
        const auto on = S::every();
        M::template store<S>(on, edge.values, F::template of<S, false>(M::template load<S>(on, edge.values)));
        std::copy(edge.values, edge.values + (n - whole), out + whole);
    }
}

template <class F>
void apply(Element type, const void* in, void* out, int64_t n) {
    if (type == Element::fp32)
        apply<F, Single>(in, out, n);
    else if (type == Element::bf16)
        apply<F, Halved<Bf16Numbers>>(in, out, n);
    else
        apply<F, Halved<Fp16Numbers>>(in, out, n);
}

// Softmax of a row takes three passes over `wide`, which holds the row in fp32: the largest value while it is filled,
// the exponentials and their sum, the quotients. They are functions of their own because GCC 12 fails on them in one.
// A row of Advanced SIMD is filled up with -infinity, which adds nothing; the length with that is returned.
template <class M>
__attribute__((noinline)) int64_t fill(const typename M::Stored* in, int64_t n, float* wide, float& largest) {
    using S = Best;
    const float none = -__builtin_inff();
    const int64_t whole = S::whole(n), width = S::width();
    auto most = S::all(none);
    int64_t i = 0;
    for (; i + 4 * width <= n; i += 4 * width) {
        const auto on = S::every();
        const auto a = M::template load<S>(on, in + i), b = M::template load<S>(on, in + i + width);
        const auto c = M::template load<S>(on, in + i + 2 * width), d = M::template load<S>(on, in + i + 3 * width);
        float* const to = wide + i;
        S::store(on, to, a), S::store(on, to + width, b), S::store(on, to + 2 * width, c), S::store(on, to + 3 * width, d);
        most = S::max(most, S::max(S::max(a, b), S::max(c, d)));
    }
    for (; i < whole; i += width) {
        const auto on = S::active(i, n);
        const auto x = M::template load<S>(on, in + i);
        S::store(on, wide + i, x);
        most = S::max_where(on, most, x);
    }
    int64_t padded = n;
    if (whole < n) {
        const Edge<typename M::Stored> edge(in + whole, n - whole);
        S::store(S::every(), wide + whole, M::template load<S>(S::every(), edge.values));
        padded = whole + 4;
        std::fill(wide + n, wide + padded, none);
        most = S::max(most, S::load(S::every(), wide + whole));
    }
    largest = S::largest(most);
    return padded;
}

template <bool logarithm>
__attribute__((noinline)) float exponentials(float* wide, int64_t n, float largest) {
    using S = Best;
    const int64_t width = S::width();
    const auto shift = S::all(largest), least = S::exp_ordinary(S::all(-kOrdinary));
    auto sums = S::all(0);
    int64_t i = 0;
    for (; i + 4 * width <= n; i += 4 * width) {
        const auto on = S::every();
        float* const x = wide + i;
        const auto a = exp_to_zero<S>(S::sub(S::load(on, x), shift), least);
        const auto b = exp_to_zero<S>(S::sub(S::load(on, x + width), shift), least);
        const auto c = exp_to_zero<S>(S::sub(S::load(on, x + 2 * width), shift), least);
        const auto d = exp_to_zero<S>(S::sub(S::load(on, x + 3 * width), shift), least);
        if (!logarithm)
            S::store(on, x, a), S::store(on, x + width, b), S::store(on, x + 2 * width, c), S::store(on, x + 3 * width, d);
        sums = S::add(sums, S::add(S::add(a, b), S::add(c, d)));
    }
    for (; i < n; i += width) {
        const auto on = S::active(i, n);
        const auto e = exp_to_zero<S>(S::sub(S::load(on, wide + i), shift), least);
        if (!logarithm) S::store(on, wide + i, e);
        sums = S::add_where(on, sums, e);
    }
    return S::total(sums);
}

// out = ((x - largest) - less) * factor
template <class M>
__attribute__((noinline)) void scaled(const float* x, typename M::Stored* out, int64_t n, float largest, float less,
                                      float factor) {
    using S = Best;
    const int64_t whole = S::whole(n), width = S::width();
    const auto top = S::all(largest), shift = S::all(less), times = S::all(factor);
    int64_t i = 0;
    for (; i < whole; i += width) {
        const auto on = S::active(i, n);
        M::template store<S>(on, out + i, S::mul(S::sub(S::sub(S::load(on, x + i), top), shift), times));
    }
    if (whole < n) {
        typename M::Stored edge[4];
        const auto last = S::sub(S::sub(S::load(S::every(), x + i), top), shift);
        M::template store<S>(S::every(), edge, S::mul(last, times));
        std::copy(edge, edge + (n - i), out + i);
    }
}

template <class M, bool logarithm>
void softmax(const void* in, void* out, int64_t rows, int64_t n, float* wide) {
    using T = typename M::Stored;
    for (int64_t i = 0; i < rows; ++i) {
        float largest = 0;
        const int64_t padded = fill<M>(static_cast<const T*>(in) + i * n, n, wide, largest);
        const float sum = exponentials<logarithm>(wide, padded, largest);
        T* const to = static_cast<T*>(out) + i * n;
        if (logarithm)
            scaled<M>(wide, to, n, largest, std::log(sum), 1);
        else
            scaled<M>(wide, to, n, 0, 0, 1 / sum);
    }
}

}  // namespace

#if defined(__ARM_FEATURE_SVE)
const char* const elementwise = "SVE with FEXPA";
const bool scalable = true;
#else
const char* const elementwise = "Advanced SIMD";
const bool scalable = false;
#endif

void unary(Function function, Element type, const void* in, void* out, int64_t n) {
    switch (function) {
        case Function::exp:
            return apply<Exp>(type, in, out, n);
        case Function::sigmoid:
            return apply<Sigmoid>(type, in, out, n);
        case Function::silu:
            return apply<Silu>(type, in, out, n);
        case Function::tanh:
            return apply<Tanh>(type, in, out, n);
        case Function::erf:
            return apply<Erf>(type, in, out, n);
        case Function::gelu:
            return apply<Gelu>(type, in, out, n);
        case Function::gelu_tanh:
            return apply<GeluTanh>(type, in, out, n);
    }
}

void softmax_rows(Element type, const void* in, void* out, int64_t rows, int64_t n, float* scratch, bool logarithm) {
    const auto choose = [&](auto memory) {
        using M = decltype(memory);
        return logarithm ? softmax<M, true>(in, out, rows, n, scratch) : softmax<M, false>(in, out, rows, n, scratch);
    };
    if (type == Element::fp32)
        choose(Single{});
    else if (type == Element::bf16)
        choose(Halved<Bf16Numbers>{});
    else
        choose(Halved<Fp16Numbers>{});
}

}  // namespace tuned
