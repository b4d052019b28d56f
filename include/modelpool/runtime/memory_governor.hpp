#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/config.hpp>
#include <modelpool/error.hpp>

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {
namespace detail {

/// The ledger behind a governor and its reservations; lives until the last of them is gone.
struct memory_ledger {
    struct entry {
        std::string holder;
        std::uint64_t bytes{0};
        bool releasing{false};
    };

    explicit memory_ledger(std::uint64_t limit)
        : limit_bytes{limit}
    {}

    // Under the lock. `reserved_bytes` never exceeds `limit_bytes`, so the difference cannot wrap.
    std::uint64_t available() const noexcept { return limit_bytes - reserved_bytes; }

    /// Tells those who wait that the ledger changed. Not under the lock.
    void announce()
    {
        {
            const std::lock_guard lock{mutex};
            ++n_changes;
            ++n_chances;
        }
        changed.notify_all();
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::uint64_t n_changes{0};
    std::uint64_t n_chances{0};  // times it became likelier that room can be made
    const std::uint64_t limit_bytes;
    std::uint64_t reserved_bytes{0};
    std::uint64_t next_id{1};
    std::map<std::uint64_t, entry> entries;
};

}  // namespace detail

/// Bytes taken from a memory budget, given back exactly once: when this object is destroyed, on any
/// thread. A default-constructed reservation holds nothing. Moves freely; may outlive the governor.
class reservation {
public:
    reservation() = default;
    reservation(reservation&& other) noexcept
        : ledger_{std::move(other.ledger_)}
        , id_{std::exchange(other.id_, 0)}
        , bytes_{std::exchange(other.bytes_, 0)}
    {}
    reservation& operator=(reservation&& other) noexcept
    {
        release();
        ledger_ = std::move(other.ledger_);
        id_ = std::exchange(other.id_, 0);
        bytes_ = std::exchange(other.bytes_, 0);
        return *this;
    }
    reservation(const reservation&) = delete;
    reservation& operator=(const reservation&) = delete;
    ~reservation() { release(); }

    std::uint64_t bytes() const noexcept { return bytes_; }
    explicit operator bool() const noexcept { return ledger_ != nullptr; }

    /// Changes the amount; false, and unchanged, where more is wanted than the budget has left.
    bool try_resize(std::uint64_t bytes)
    {
        if (!ledger_) return bytes == 0;
        {
            const std::lock_guard lock{ledger_->mutex};
            if (bytes > bytes_ && bytes - bytes_ > ledger_->available()) return false;
            ledger_->reserved_bytes = ledger_->reserved_bytes - bytes_ + bytes;
            ledger_->entries.at(id_).bytes = bytes;
            bytes_ = bytes;
        }
        ledger_->announce();
        return true;
    }

    /// Takes `bytes` of these into a reservation of their own. Precondition: no more than
    /// `bytes()`.
    reservation split(std::uint64_t bytes)
    {
        MODELPOOL_ASSERT(bytes <= bytes_);
        if (!ledger_) return {};
        const std::lock_guard lock{ledger_->mutex};
        detail::memory_ledger::entry& mine = ledger_->entries.at(id_);
        const std::uint64_t id = ledger_->next_id++;
        ledger_->entries.emplace(
            id, detail::memory_ledger::entry{mine.holder, bytes, mine.releasing});
        mine.bytes -= bytes;
        bytes_ -= bytes;
        return reservation{ledger_, id, bytes};
    }

    /// Adds the bytes of another reservation of the same governor, which is empty afterwards.
    void absorb(reservation&& other)
    {
        if (!other.ledger_) return;
        if (!ledger_) {
            *this = std::move(other);
            return;
        }
        MODELPOOL_ASSERT(ledger_ == other.ledger_);
        const std::lock_guard lock{ledger_->mutex};
        ledger_->entries.at(id_).bytes += other.bytes_;
        bytes_ += std::exchange(other.bytes_, 0);
        ledger_->entries.erase(other.id_);
        other.ledger_.reset();
    }

    /// Says that these bytes are about to be given back, so that who waits for room knows to wait.
    void announce_release() noexcept
    {
        if (!ledger_) return;
        const std::lock_guard lock{ledger_->mutex};
        ledger_->entries.at(id_).releasing = true;
        ++ledger_->n_chances;
    }

    void release() noexcept
    {
        const std::shared_ptr<detail::memory_ledger> ledger = std::move(ledger_);
        if (!ledger) return;
        {
            const std::lock_guard lock{ledger->mutex};
            MODELPOOL_ASSERT(ledger->reserved_bytes >= bytes_);
            ledger->reserved_bytes -= bytes_;
            ledger->entries.erase(id_);
        }
        bytes_ = 0;
        ledger->announce();
    }

private:
    friend class memory_governor;
    reservation(
        std::shared_ptr<detail::memory_ledger> ledger, std::uint64_t id, std::uint64_t bytes)
        : ledger_{std::move(ledger)}
        , id_{id}
        , bytes_{bytes}
    {}

    std::shared_ptr<detail::memory_ledger> ledger_;
    std::uint64_t id_{0};
    std::uint64_t bytes_{0};
};

/// What one holder has of a budget.
struct memory_use {
    std::string holder;
    std::uint64_t bytes{0};
};

/// A budget of bytes that all pools of a runtime share. It counts; it allocates nothing.
/// Thread-safe.
class memory_governor {
public:
    explicit memory_governor(std::uint64_t limit_bytes)
        : ledger_{std::make_shared<detail::memory_ledger>(limit_bytes)}
    {}

    /// Whether `one` is of this budget.
    bool owns(const reservation& one) const noexcept { return one.ledger_ == ledger_; }
    std::uint64_t limit_bytes() const noexcept { return ledger_->limit_bytes; }
    std::uint64_t reserved_bytes() const
    {
        const std::lock_guard lock{ledger_->mutex};
        return ledger_->reserved_bytes;
    }
    std::uint64_t available_bytes() const
    {
        const std::lock_guard lock{ledger_->mutex};
        return ledger_->available();
    }

    /// Takes `bytes` where the budget has room for them; nothing otherwise. `holder` is named in
    /// messages.
    std::optional<reservation> try_reserve(std::uint64_t bytes, std::string holder)
    {
        const std::lock_guard lock{ledger_->mutex};
        if (bytes > ledger_->available()) return std::nullopt;
        ledger_->reserved_bytes += bytes;
        const std::uint64_t id = ledger_->next_id++;
        ledger_->entries.emplace(id, detail::memory_ledger::entry{std::move(holder), bytes});
        return reservation{ledger_, id, bytes};
    }

    /// Takes `bytes`. Errors: pool_errc::memory_exhausted, as `exhausted` words it.
    reservation reserve(std::uint64_t bytes, std::string holder)
    {
        std::optional<reservation> taken = try_reserve(bytes, holder);
        if (!taken) throw exhausted(bytes, holder);
        return std::move(*taken);
    }

    /// Bytes whose holders have said that they are about to give them back.
    std::uint64_t releasing_bytes() const
    {
        const std::lock_guard lock{ledger_->mutex};
        std::uint64_t sum = 0;
        for (const auto& [id, entry] : ledger_->entries)
            sum += entry.releasing ? entry.bytes : 0;
        return sum;
    }

    /// A number that changes whenever bytes are given back.
    std::uint64_t n_changes() const
    {
        const std::lock_guard lock{ledger_->mutex};
        return ledger_->n_changes;
    }
    /// A number that changes whenever room may have become possible: bytes are given back, or about
    /// to be, or a worker could be evicted now. While it stays, who was refused would be again.
    std::uint64_t n_chances() const
    {
        const std::lock_guard lock{ledger_->mutex};
        return ledger_->n_chances;
    }
    /// Says that a worker could be evicted now.
    void note_chance() noexcept
    {
        const std::lock_guard lock{ledger_->mutex};
        ++ledger_->n_chances;
    }
    /// Blocks until `n_changes()` is no longer `seen`.
    void blocking_wait_for_change(std::uint64_t seen)
    {
        std::unique_lock lock{ledger_->mutex};
        ledger_->changed.wait(lock, [&] { return ledger_->n_changes != seen; });
    }
    /// Wakes all who wait for a change, so that they look whether they are still wanted.
    void interrupt() { ledger_->announce(); }

    /// Who holds how much, the largest first; bytes of one holder are added up.
    std::vector<memory_use> holders() const;

    /// The error that says how many bytes `holder` asked for, how many are there, and who has the
    /// rest.
    error exhausted(std::uint64_t bytes, const std::string& holder) const;

private:
    std::shared_ptr<detail::memory_ledger> ledger_;
};

/// "1.5 GiB", "384.0 MiB", "12 bytes".
std::string bytes_text(std::uint64_t bytes);

/// The default budget of a machine: 80 % of the smaller of its memory and of the limits of the
/// control groups (v1 and v2) this process is in, less 2 GiB, but at least a quarter of that
/// smaller number.
std::uint64_t default_memory_limit_bytes(std::uint64_t smallest_bytes) noexcept;

/// The smaller of this machine's memory and of its control groups' limits. `root` stands before
/// "/proc" and "/sys": tests put files of their own there. Reads a few small files.
std::uint64_t blocking_machine_memory_bytes(const std::string& root = "");

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/runtime/impl/memory_governor.hpp>
#endif
