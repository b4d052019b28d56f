#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/block_type.hpp"
#include "kernels/packing.hpp"

namespace modelpool::kernels {
namespace {

/// Scale and offset of one group of 32 numbers in each lane's row: the group's share of a product
/// is scale·dot + offset·(sum of the activations).
template <class V>
struct group_scales {
    typename V::f scale;
    typename V::f offset;
};

/// The integers that the halves of a group of a super block are multiplied by; one number where the
/// halves have none of their own.
template <class V>
struct half_scales {
    typename V::i first;
    typename V::i second;
};

// What a packed block of 16 rows says, type by type. `words` points at the lanes that are computed
// on; row r has word w at words + 64·w + 4·r, and its lone f16 at `half`. Facts of the GGUF block
// formats: a number is scale·(code − zero) + offset. Blocks of 32 have `scales`. Super blocks of 256
// have a `scale` that integers from `factors` multiply, group by group or half by half, and some
// have `minus`, multiplied by small integers from `minima`.
template <class V, block_type type>
struct panel_block;

template <class V>
struct panel_base {
    using i = typename V::i;
    using f = typename V::f;

    const std::byte* words;
    const std::byte* half;

    i word(int index) const { return V::load_i(words + static_cast<std::ptrdiff_t>(index) * 64); }
    template <int shift>
    static i nibble(i x)
    {
        return V::and_i(V::template srl<shift>(x), V::set_i(0x0f0f0f0f));
    }
    template <int byte>
    static i unsigned_byte(i x)
    {
        return V::and_i(V::template srl<8 * byte>(x), V::set_i(0xff));
    }
    template <int byte>
    static i signed_byte(i x)
    {
        return V::template sra<24>(V::template sll<24 - 8 * byte>(x));
    }
    static f negative(f x) { return V::sub(V::set(0.0F), x); }
    /// 16 bytes of low nibbles, then high ones.
    void nibbles(int first_word, i (&code)[8]) const
    {
#pragma GCC unroll 4
        for (int c = 0; c != 4; ++c) {
            const i x = word(first_word + c);
            code[c] = nibble<0>(x);
            code[c + 4] = nibble<4>(x);
        }
    }
    /// Adds 16 where a bit of `bits` is set: bit k belongs to number k.
    void fifth_bits(i bits, i (&code)[8]) const
    {
        [&]<int... c>(std::integer_sequence<int, c...>) {
            (fifth_bit<c>(bits, code[c]), ...);
        }(std::make_integer_sequence<int, 8>{});
    }

private:
    template <int c>
    static void fifth_bit(i bits, i& code)
    {
        // The product puts bit b of the four at bit 8b, and nothing else there.
        const i four = V::and_i(V::template srl<4 * c>(bits), V::set_i(0xf));
        const i spread = V::mul_i(four, V::set_i(0x00204081));
        code = V::or_i(code, V::template sll<4>(V::and_i(spread, V::set_i(0x01010101))));
    }
};

/// Blocks of 32 nibbles: where they begin, what is taken off them, and whether there is an offset to
/// the scale, or a word of fifth bits before the nibbles.
template <class V, int first_word, int zero_code, bool with_offset, bool with_fifth>
struct panel_nibbles : panel_base<V> {
    static constexpr int n_groups = 1;
    static constexpr int zero = zero_code;
    static constexpr bool is_split = false;
    static constexpr bool has_offset = with_offset;
    static constexpr bool is_small = true;

    void prepare() {}
    template <int>
    void codes(typename V::i (&code)[8]) const
    {
        this->nibbles(first_word, code);
        if constexpr (with_fifth) this->fifth_bits(this->word(first_word - 1), code);
    }
    group_scales<V> scales() const
    {
        if constexpr (with_offset)
            return {V::low_f16(this->word(0)), V::high_f16(this->word(0))};
        else
            return {V::load_f16(this->half), V::set(0.0F)};
    }
};

template <class V>
struct panel_block<V, block_type::q4_0> : panel_nibbles<V, 0, 8, false, false> {};
template <class V>
struct panel_block<V, block_type::q4_1> : panel_nibbles<V, 1, 0, true, false> {};
template <class V>
struct panel_block<V, block_type::q5_0> : panel_nibbles<V, 1, 16, false, true> {};
template <class V>
struct panel_block<V, block_type::q5_1> : panel_nibbles<V, 2, 0, true, true> {};

template <class V>
struct panel_block<V, block_type::q8_0> : panel_base<V> {
    static constexpr int n_groups = 1;
    static constexpr int zero = 128;
    static constexpr bool is_split = false;
    static constexpr bool has_offset = false;
    static constexpr bool is_small = false;

    void prepare() {}
    template <int>
    void codes(typename V::i (&code)[8]) const
    {
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c)
            code[c] = V::xor_i(this->word(c), V::set_i(static_cast<std::int32_t>(0x80808080U)));
    }
    group_scales<V> scales() const { return {V::load_f16(this->half), V::set(0.0F)}; }
};

template <class V>
struct panel_block<V, block_type::q2_k> : panel_base<V> {
    using i = typename V::i;
    static constexpr int n_groups = 8;
    static constexpr int zero = 0;
    static constexpr bool is_split = true;
    static constexpr bool has_offset = true;
    static constexpr bool is_small = true;

    typename V::f scale;
    typename V::f minus;

    void prepare()
    {
        scale = V::low_f16(this->word(20));
        minus = this->negative(V::high_f16(this->word(20)));
    }
    template <int g>
    void codes(i (&code)[8]) const
    {
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c) {
            const i x = this->word(4 + 8 * (g / 4) + c);
            code[c] = V::and_i(V::template srl<2 * (g % 4)>(x), V::set_i(0x03030303));
        }
    }
    template <int g>
    half_scales<V> factors() const
    {
        return bytes_of<g>(this->template nibble<0>(this->word(g / 2)));
    }
    template <int g>
    half_scales<V> minima() const
    {
        return bytes_of<g>(this->template nibble<4>(this->word(g / 2)));
    }

private:
    template <int g>
    static half_scales<V> bytes_of(i x)
    {
        constexpr int byte = (2 * g) % 4;
        return {
            panel_base<V>::template unsigned_byte<byte>(x),
            panel_base<V>::template unsigned_byte<byte + 1>(x)};
    }
};

template <class V>
struct panel_block<V, block_type::q3_k> : panel_base<V> {
    using i = typename V::i;
    static constexpr int n_groups = 8;
    static constexpr int zero = 4;
    static constexpr bool is_split = true;
    static constexpr bool has_offset = false;
    static constexpr bool is_small = true;

    typename V::f scale;
    i six_bits[4];  // scales + 32, a byte each

    void prepare()
    {
        scale = V::load_f16(this->half);
        const i low_0 = this->word(24);
        const i low_1 = this->word(25);
        const i high = this->word(26);
        six_bits[0] = V::or_i(this->template nibble<0>(low_0), two_bits<0>(high));
        six_bits[1] = V::or_i(this->template nibble<0>(low_1), two_bits<2>(high));
        six_bits[2] = V::or_i(this->template nibble<4>(low_0), two_bits<4>(high));
        six_bits[3] = V::or_i(this->template nibble<4>(low_1), two_bits<6>(high));
    }
    template <int g>
    void codes(i (&code)[8]) const
    {
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c) {
            const i low = V::template srl<2 * (g % 4)>(this->word(8 + 8 * (g / 4) + c));
            const i high = V::and_i(V::template srl<g>(this->word(c)), V::set_i(0x01010101));
            code[c] = V::or_i(V::and_i(low, V::set_i(0x03030303)), V::template sll<2>(high));
        }
    }
    template <int g>
    half_scales<V> factors() const
    {
        constexpr int byte = (2 * g) % 4;
        const i both = six_bits[g / 2];
        return {
            V::add_i(this->template unsigned_byte<byte>(both), V::set_i(-32)),
            V::add_i(this->template unsigned_byte<byte + 1>(both), V::set_i(-32))};
    }

private:
    template <int shift>
    static i two_bits(i x)
    {
        return V::template sll<4>(V::and_i(V::template srl<shift>(x), V::set_i(0x03030303)));
    }
};

/// What Q4_K and Q5_K share: eight scales and eight minima of six bits in twelve bytes.
template <class V>
struct panel_six_bit : panel_base<V> {
    using i = typename V::i;
    static constexpr int n_groups = 8;
    static constexpr int zero = 0;
    static constexpr bool is_split = false;
    static constexpr bool has_offset = true;
    static constexpr bool is_small = true;

    typename V::f scale;
    typename V::f minus;
    i six_bits[2];
    i six_bit_minima[2];

    void prepare()
    {
        scale = V::low_f16(this->word(0));
        minus = this->negative(V::high_f16(this->word(0)));
        const i a = this->word(1);
        const i b = this->word(2);
        const i c = this->word(3);
        six_bits[0] = V::and_i(a, V::set_i(0x3f3f3f3f));
        six_bits[1] = V::or_i(this->template nibble<0>(c), top_bits(a));
        six_bit_minima[0] = V::and_i(b, V::set_i(0x3f3f3f3f));
        six_bit_minima[1] = V::or_i(this->template nibble<4>(c), top_bits(b));
    }
    template <int g>
    half_scales<V> factors() const
    {
        const i factor = this->template unsigned_byte<g % 4>(six_bits[g / 4]);
        return {factor, factor};
    }
    template <int g>
    half_scales<V> minima() const
    {
        const i least = this->template unsigned_byte<g % 4>(six_bit_minima[g / 4]);
        return {least, least};
    }

private:
    static i top_bits(i x)
    {
        return V::template sll<4>(V::and_i(V::template srl<6>(x), V::set_i(0x03030303)));
    }
};

template <class V>
struct panel_block<V, block_type::q4_k> : panel_six_bit<V> {
    template <int g>
    void codes(typename V::i (&code)[8]) const
    {
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c)
            code[c] = this->template nibble<4 * (g % 2)>(this->word(4 + 8 * (g / 2) + c));
    }
};

template <class V>
struct panel_block<V, block_type::q5_k> : panel_six_bit<V> {
    template <int g>
    void codes(typename V::i (&code)[8]) const
    {
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c) {
            const auto low = this->template nibble<4 * (g % 2)>(this->word(12 + 8 * (g / 2) + c));
            const auto bit = V::and_i(V::template srl<g>(this->word(4 + c)), V::set_i(0x01010101));
            code[c] = V::or_i(low, V::template sll<4>(bit));
        }
    }
};

template <class V>
struct panel_block<V, block_type::q6_k> : panel_base<V> {
    using i = typename V::i;
    static constexpr int n_groups = 8;
    static constexpr int zero = 32;
    static constexpr bool is_split = true;
    static constexpr bool has_offset = false;
    static constexpr bool is_small = true;

    typename V::f scale;

    void prepare() { scale = V::load_f16(this->half); }
    template <int g>
    void codes(i (&code)[8]) const
    {
        constexpr int part = g % 4;  // of the half of the block
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c) {
            const i low = this->word(16 * (g / 4) + 8 * (part % 2) + c);
            const i high = this->word(32 + 8 * (g / 4) + c);
            const i two = V::and_i(V::template srl<2 * part>(high), V::set_i(0x03030303));
            code[c] = V::or_i(this->template nibble<4 * (part / 2)>(low), V::template sll<4>(two));
        }
    }
    template <int g>
    half_scales<V> factors() const
    {
        constexpr int byte = (2 * g) % 4;
        const i four = this->word(48 + g / 2);
        return {this->template signed_byte<byte>(four), this->template signed_byte<byte + 1>(four)};
    }
};

}  // namespace
}  // namespace modelpool::kernels
