#include "kernels/thread_team.hpp"

#include <stdexcept>

namespace modelpool::kernels {
namespace {

constexpr unsigned n_part_bits = 20;
constexpr std::uint64_t part_mask = (1U << n_part_bits) - 1;

std::uint64_t next_of(std::uint64_t work)
{
    return work & part_mask;
}
std::uint64_t count_of(std::uint64_t work)
{
    return (work >> n_part_bits) & part_mask;
}

void pause_briefly() noexcept
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Waits until `value` is no longer `old`: awake for a bounded time, then asleep.
template <class T>
void wait_for_change(
    const std::atomic<T>& value, T old, std::chrono::microseconds spin_limit) noexcept
{
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + spin_limit;
    do {
        for (int i = 0; i != 16; ++i) {
            if (value.load(std::memory_order_acquire) != old) return;
            pause_briefly();
        }
    } while (clock::now() < end);
    value.wait(old, std::memory_order_acquire);
}

}  // namespace

thread_team::thread_team(int n_threads, std::chrono::microseconds spin_limit)
    : spin_limit_{spin_limit}
{
    resize(n_threads);
}

thread_team::~thread_team()
{
    stop_helpers();
}

void thread_team::resize(int n_threads)
{
    if (n_threads < 1) throw std::invalid_argument{"a thread team has at least one thread"};
    if (n_threads == this->n_threads()) return;
    stop_helpers();
    for (int thread = 1; thread != n_threads; ++thread)
        helpers_.emplace_back([this, thread] { help(thread); });
}

void thread_team::stop_helpers()
{
    ending_.store(true, std::memory_order_relaxed);
    const std::uint64_t work = work_.load(std::memory_order_relaxed);
    work_.store(((work >> (2 * n_part_bits)) + 1) << (2 * n_part_bits), std::memory_order_release);
    work_.notify_all();
    for (std::thread& helper : helpers_)
        helper.join();
    helpers_.clear();
    ending_.store(false, std::memory_order_relaxed);
}

void thread_team::run(int n_parts, part_function f, const std::function<void()>& idle)
{
    if (n_parts < 0 || n_parts > max_parts)
        throw std::invalid_argument{"a run has at most thread_team::max_parts parts"};
    if (helpers_.empty() || n_parts < 2) {
        for (int part = 0; part != n_parts; ++part)
            f(part, 0);
        return;
    }
    function_ = &f;
    n_done_.store(0, std::memory_order_relaxed);
    const std::uint64_t generation =
        (work_.load(std::memory_order_relaxed) >> (2 * n_part_bits)) + 1;
    work_.store(
        generation << (2 * n_part_bits) | static_cast<std::uint64_t>(n_parts) << n_part_bits,
        std::memory_order_release);
    work_.notify_all();
    while (take_part(0)) {
    }
    for (int done = n_done_.load(std::memory_order_acquire); done != n_parts;
         done = n_done_.load(std::memory_order_acquire)) {
        if (!idle) {
            wait_for_change(n_done_, done, spin_limit_);
            continue;
        }
        std::this_thread::sleep_for(std::chrono::microseconds{100});
        idle();
    }
}

/// False where no part is left. Whoever took one knows that the run goes on until it has been
/// counted as done, so `function_` is there for it.
bool thread_team::take_part(int thread)
{
    std::uint64_t work = work_.load(std::memory_order_acquire);
    do {
        if (next_of(work) >= count_of(work)) return false;
    } while (!work_.compare_exchange_weak(
        work, work + 1, std::memory_order_acq_rel, std::memory_order_acquire));
    (*function_)(static_cast<int>(next_of(work)), thread);
    const int n_parts = static_cast<int>(count_of(work));
    if (n_done_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_parts) n_done_.notify_one();
    return true;
}

void thread_team::help(int thread)
{
    while (!ending_.load(std::memory_order_acquire)) {
        if (take_part(thread)) continue;
        const std::uint64_t work = work_.load(std::memory_order_acquire);
        if (next_of(work) < count_of(work) || ending_.load(std::memory_order_acquire)) continue;
        wait_for_change(work_, work, spin_limit_);
    }
}

}  // namespace modelpool::kernels
