#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/pool/detail/failures.hpp>
#include <modelpool/pool/detail/job.hpp>
#include <modelpool/sched/generation_options.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

namespace modelpool::detail {

/// How much of a job an engine took.
enum class intake {
    all,   ///< the whole: it leaves the queue
    part,  ///< some; more of it is to be taken in a later turn
    full,  ///< nothing: the engine has enough
};

/// What one step did.
struct step_report {
    struct failed_job {
        std::shared_ptr<job> request;
        std::exception_ptr why;
    };

    /// Notes a job that failed; where there is no memory for the note, it fails at once.
    void fail(const std::shared_ptr<job>& request, const std::exception_ptr& why) noexcept
    {
        if (!failed.empty() && failed.back().request == request) return;
        try {
            failed.push_back(failed_job{request, why});
        } catch (const std::bad_alloc&) {
            request->fail(why);
        }
    }

    /// Notes an input that came out without a result, for a reason of its own.
    void item_failed(const std::exception_ptr& why) noexcept
    {
        if (!blame && blames_model(why)) blame = why;
    }

    std::size_t n_items{0};
    /// Inputs that came out well, and streams that ended well: what shows that the model works. A
    /// step in the midst of a stream does not.
    std::size_t n_succeeded{0};
    std::size_t n_tokens{0};
    /// Jobs whose result is complete.
    std::vector<std::shared_ptr<job>> done;
    std::vector<failed_job> failed;
    /// Set where the model itself failed, not a single item of the batch.
    std::exception_ptr failure;
    /// The first failure of a single item that speaks against the model.
    std::exception_ptr blame;
};

/// What a pool tells its engines about requests of one model.
struct engine_options {
    std::size_t batch_tokens{4096};
    std::size_t batch_images{8};
    sched::generation_options generation;
    sampling_params sampling;                    ///< of the card: what a request does not say
    std::map<std::string, std::string> prompts;  ///< of the card; they go before the checkpoint's
    std::optional<std::string> default_prompt;
    std::optional<bool> cuttable;
};

/// A model with the requests it works on: what a worker's thread drives. Made by the capability;
/// all calls but `replicate` come from the worker's thread.
class engine {
public:
    engine() = default;
    engine(const engine&) = delete;
    engine& operator=(const engine&) = delete;
    engine(engine&&) = delete;
    engine& operator=(engine&&) = delete;
    virtual ~engine() = default;

    /// Takes work from a job. Called under the group's lock: it only notes what it took.
    virtual intake take(const std::shared_ptr<job>& one) = 0;
    /// Whether a step would do something now. Called under the group's lock.
    virtual bool busy() const noexcept = 0;
    /// Whether requests of it have not ended, those included whose readers are behind: its worker
    /// then is neither idle nor evicted, and who waits for the drain goes on waiting.
    /// `group::nudge` has `busy` asked again. Called under the group's lock.
    virtual bool holds() const noexcept { return busy(); }
    /// Whether it takes further requests beside those it works on; a busy engine that does not
    /// counts as taken, so that another worker is started. Called under the group's lock.
    virtual bool open() const noexcept { return false; }
    /// What it would take beyond `bytes()` for its caches, of so many that are left. Allocates
    /// nothing. Throws pool_errc::memory_exhausted where it cannot do with so few.
    virtual std::uint64_t cache_bytes(std::uint64_t available_bytes) const
    {
        static_cast<void>(available_bytes);
        return 0;
    }
    /// Makes what the first step needs besides weights, in `granted_bytes` of the memory budget,
    /// which are reserved already. Called once on the worker's thread, of a loaded engine as of a
    /// copy, before `warm_up`.
    virtual void start(std::uint64_t granted_bytes) { static_cast<void>(granted_bytes); }
    /// One forward, or one step of each sequence. Leaves the jobs that ended with it in the report:
    /// the worker answers them when it has counted the step and is free for the next request, so
    /// that a caller who comes straight back finds it neither busy nor its books behind. A job
    /// whose own input is at fault may fail at once. Throws nothing.
    virtual step_report step(run_context& context) = 0;

    // In the midst of a long step, small requests need not wait for its end:

    /// Whether the step that runs now is so long that guests are welcome.
    virtual bool hosts() const noexcept { return false; }
    /// What the first guests would take beyond `bytes()`; reserved before they are taken.
    virtual std::uint64_t guest_bytes() const noexcept { return 0; }
    /// Whether a job that nobody has begun is small enough for a guest. Called under the group's
    /// lock.
    virtual bool suits_guest(const job& one) const noexcept
    {
        static_cast<void>(one);
        return false;
    }
    /// Takes a job that suits as a guest, whole; false where there are enough. Called under the
    /// group's lock, between two operations of a step that hosts: it only notes the job.
    virtual bool take_guest(const std::shared_ptr<job>& one)
    {
        static_cast<void>(one);
        return false;
    }
    /// Computes the guests, on the thread of the step that they interrupt and without harm to it;
    /// what `step` says of its report holds here too. Throws nothing.
    virtual step_report serve_guests(run_context& context)
    {
        static_cast<void>(context);
        return {};
    }

    /// Fails all jobs it holds.
    virtual void drop(const std::exception_ptr& why) noexcept = 0;

    /// An engine that shares this one's weights; null where the model cannot. Called on the new
    /// worker's thread, while this engine may be computing.
    virtual std::unique_ptr<engine> replicate() const = 0;
    virtual footprint bytes() const = 0;
    virtual void warm_up(run_context& context) = 0;
};

}  // namespace modelpool::detail
