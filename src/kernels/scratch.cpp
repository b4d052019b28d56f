#include "kernels/scratch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "kernels/bf16_tiles.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/linear.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace modelpool::kernels {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20U;

std::size_t alignment_for(std::size_t n_bytes)
{
    return n_bytes >= 2 * huge_page ? huge_page : 64;
}

#if defined(__x86_64__)
/// Linux lends the tiles' registers only to processes that ask (ARCH_REQ_XCOMP_PERM, XTILEDATA).
bool may_use_tiles() noexcept
{
#if defined(__linux__)
    constexpr long request_permission = 0x1023;
    constexpr long tile_data = 18;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}

/// What CPUID says in a leaf: the registers ecx and edx.
struct cpuid_words {
    unsigned c;
    unsigned d;
};

cpuid_words cpuid_of(unsigned leaf) noexcept
{
    unsigned a = leaf;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return {c, d};
}

bool has_tiles() noexcept
{
    constexpr unsigned tile_and_int8 = 3U << 24U;
    return (cpuid_of(7).d & tile_and_int8) == tile_and_int8;
}

bool has_bf16_instructions() noexcept
{
    constexpr unsigned tile_and_bf16 = 1U << 24U | 1U << 22U;
    return (cpuid_of(7).d & tile_and_bf16) == tile_and_bf16 &&
           __builtin_cpu_supports("avx512bf16") != 0;
}

/// Half precision conversions, which clang 16's __builtin_cpu_supports does not know.
bool has_f16c() noexcept
{
    return (cpuid_of(1).c >> 29U & 1U) != 0;
}
#endif

const kernel_table& table_for(isa chosen)
{
#if defined(__x86_64__)
    switch (chosen) {
    case isa::scalar:
        return scalar_table();
    case isa::avx2:
        return avx2_table();
    case isa::avx512:
        return avx512_table();
    case isa::amx:
        return amx_table();
    }
#endif
    static_cast<void>(chosen);
    return scalar_table();
}

}  // namespace

isa best_isa() noexcept
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    if (!avx2) return isa::scalar;
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    if (!avx512) return isa::avx2;
    return has_tiles() && may_use_tiles() ? isa::amx : isa::avx512;
#else
    return isa::scalar;
#endif
}

#if defined(__x86_64__)
bool has_bf16_tiles() noexcept
{
    return best_isa() == isa::amx && has_bf16_instructions();
}
#endif

void aligned_room::release::operator()(std::byte* bytes) const noexcept
{
    std::free(bytes);
}

std::byte* aligned_room::get(std::size_t n_bytes)
{
    if (n_bytes <= n_bytes_) return bytes_.get();
    const std::size_t alignment = alignment_for(n_bytes);
    if (n_bytes > SIZE_MAX - alignment) throw std::bad_alloc{};
    const std::size_t rounded = (n_bytes + alignment - 1) / alignment * alignment;
    bytes_.reset();  // both at once would be twice the memory
    n_bytes_ = 0;
    auto* fresh = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
    if (fresh == nullptr) throw std::bad_alloc{};
    bytes_.reset(fresh);
    n_bytes_ = n_bytes;
#if defined(__linux__)
    // A hint: reading gigabytes in a row, small pages cost a tenth of the bandwidth. The end that
    // fills no huge page takes small ones: with hundreds of matrices it would add up.
    const std::size_t whole = n_bytes / huge_page * huge_page;
    if (alignment == huge_page) static_cast<void>(madvise(fresh, whole, MADV_HUGEPAGE));
#endif
    return fresh;
}

scratch::scratch(isa wanted)
    : chosen_{std::min(wanted, best_isa())}
    , has_bf16_{chosen_ == isa::amx && has_bf16_tiles()}
    , table_{&table_for(chosen_)}
    , per_thread_(1)
    , routed_{std::make_shared<linear_input>()}
{}

void scratch::prepare(int n_threads)
{
    const auto n = static_cast<std::size_t>(n_threads);
    if (per_thread_.size() < n) per_thread_.resize(n);
}

std::size_t scratch::n_bytes() const noexcept
{
    std::size_t total = common_.n_bytes();
    for (const aligned_room& room : per_thread_)
        total += room.n_bytes();
    return total;
}

}  // namespace modelpool::kernels
