#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace modelpool::kernels {

struct kernel_table;
class linear_input;

/// Instruction sets for which there are kernels, each one with what came before. All give the same
/// numbers, bit for bit.
enum class isa {
    scalar,  ///< plain C++: any machine
    avx2,    ///< with FMA and F16C
    avx512,  ///< with F, BW, VL, DQ and VNNI
    amx      ///< with AMX int8, where the system lets a process use it
};

/// The best one that this machine has.
isa best_isa() noexcept;

/// Bytes aligned for every vector, that only ever grow. What they hold is not kept.
class aligned_room {
public:
    aligned_room() = default;
    aligned_room(const aligned_room&) = delete;
    aligned_room(aligned_room&& other) noexcept
        : bytes_{std::move(other.bytes_)}
        , n_bytes_{std::exchange(other.n_bytes_, 0)}
    {}
    aligned_room& operator=(const aligned_room&) = delete;
    aligned_room& operator=(aligned_room&& other) noexcept
    {
        bytes_ = std::move(other.bytes_);
        n_bytes_ = std::exchange(other.n_bytes_, 0);
        return *this;
    }
    ~aligned_room() = default;

    /// At least `n_bytes`, valid until the next call. Errors: std::bad_alloc.
    std::byte* get(std::size_t n_bytes);
    template <class T>
    T* get_as(std::int64_t n)
    {
        return reinterpret_cast<T*>(get(static_cast<std::size_t>(n) * sizeof(T)));
    }
    /// What get gave last; null before that.
    template <class T>
    const T* data_as() const noexcept
    {
        return reinterpret_cast<const T*>(bytes_.get());
    }
    std::size_t n_bytes() const noexcept { return n_bytes_; }

private:
    struct release {
        void operator()(std::byte* bytes) const noexcept;
    };
    std::unique_ptr<std::byte[], release> bytes_;
    std::size_t n_bytes_{0};
};

/// What one worker's kernels need besides their operands: the instruction set they use, and room
/// that is kept from call to call. Not thread-safe: one call at a time.
class scratch {
public:
    /// Kernels for `wanted`, or for the best that this machine has where that is less.
    explicit scratch(isa wanted = best_isa());

    isa chosen() const noexcept { return chosen_; }
    /// Whether it may multiply bf16 in tiles.
    bool has_bf16() const noexcept { return has_bf16_; }
    const kernel_table& table() const noexcept { return *table_; }

    /// Room of one thread of a team, and room that is common to all. For kernels.
    aligned_room& of_thread(int thread) { return per_thread_[static_cast<std::size_t>(thread)]; }
    aligned_room& common() noexcept { return common_; }
    /// Where rows that take different ways are brought together. For kernels.
    linear_input& routed() noexcept { return *routed_; }
    /// Makes of_thread good for threads [0, n_threads).
    void prepare(int n_threads);
    /// All room together, but for what rows are brought together in.
    std::size_t n_bytes() const noexcept;

private:
    isa chosen_;
    bool has_bf16_;
    const kernel_table* table_;
    std::vector<aligned_room> per_thread_;
    aligned_room common_;
    std::shared_ptr<linear_input> routed_;  // incomplete here
};

}  // namespace modelpool::kernels
