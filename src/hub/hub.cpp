#include <modelpool/async/detail/latest.hpp>
#include <modelpool/async/detail/reply.hpp>
#include <modelpool/async/thread_pool.hpp>
#include <modelpool/hub/hub.hpp>

#include <boost/asio/this_coro.hpp>

#include <functional>
#include <mutex>
#include <stop_token>
#include <utility>

#include "hub/cache_admin.hpp"
#include "hub/fetch_core.hpp"
#include "hub/meter.hpp"

#include <unistd.h>

namespace modelpool {
namespace {

// Calls of one hub that may be under way at a time; more wait for their turn.
constexpr std::size_t n_most_calls = 32;

// Passes progress on to the caller's executor until it is closed; nothing is posted after that,
// since the executor may be gone.
class progress_pipe {
public:
    progress_pipe(executor ex, on_fetch_progress call)
        : calls_{std::make_shared<detail::latest<fetch_progress>>(std::move(ex), std::move(call))}
    {}

    void offer(const fetch_progress& now)
    {
        const std::lock_guard lock{mutex_};
        if (!closed_) calls_->offer(now);
    }

    void close()
    {
        const std::lock_guard lock{mutex_};
        closed_ = true;
        calls_->close();
    }

private:
    const std::shared_ptr<detail::latest<fetch_progress>> calls_;
    std::mutex mutex_;
    bool closed_{false};
};

// Closes the pipe however the fetch ends.
class pipe_end {
public:
    explicit pipe_end(std::shared_ptr<progress_pipe> pipe)
        : pipe_{std::move(pipe)}
    {}
    ~pipe_end()
    {
        if (pipe_) pipe_->close();
    }
    pipe_end(const pipe_end&) = delete;
    pipe_end& operator=(const pipe_end&) = delete;
    pipe_end(pipe_end&&) = delete;
    pipe_end& operator=(pipe_end&&) = delete;

private:
    std::shared_ptr<progress_pipe> pipe_;
};

}  // namespace

class hub::core {
public:
    explicit core(hub_options options)
        : options_{std::move(options)}
        , fetches_{std::make_unique<fetching::fetch_core>(options_)}
        , threads_{std::make_unique<thread_pool>(n_most_calls)}
    {}

    const hub_options& options() const noexcept { return options_; }
    /// Precondition: called from a job, so the hub is open.
    fetching::fetch_core& fetches() noexcept { return *fetches_; }
    std::stop_token closing() const noexcept { return closing_.get_token(); }

    void submit(const std::shared_ptr<blocking_task>& task)
    {
        const std::lock_guard lock{mutex_};
        if (!threads_)
            task->abandon(nullptr);
        else
            threads_->submit(task);
    }

    void withdraw(const blocking_task& task)
    {
        const std::lock_guard lock{mutex_};
        if (threads_) threads_->withdraw(task);
    }

    /// Errors: errc::unsupported in a child of fork(), whose threads are not there.
    void check_process() const
    {
        if (::getpid() != pid_)
            throw error{
                errc::unsupported,
                "a hub of the parent process is used in a child of fork(); make one after the "
                "fork"};
    }

    void blocking_close()
    {
        closing_.request_stop();
        std::unique_ptr<thread_pool> last;
        {
            const std::lock_guard lock{mutex_};
            last = std::move(threads_);
        }
        last.reset();
        fetches_.reset();
    }

    /// A job on the hub's threads that somebody awaits.
    template <class T>
    class call final : public blocking_task, public std::enable_shared_from_this<call<T>> {
    public:
        using work = std::function<T(fetching::fetch_core&, const std::stop_token&)>;

        call(std::shared_ptr<core> owner, work job)
            : owner_{std::move(owner)}
            , job_{std::move(job)}
        {}

        void start(std::shared_ptr<call> self) { owner_->submit(std::move(self)); }

        void cancel(detail::cancellation_type)
        {
            if (!answer.claim()) return;
            stop_.request_stop();
            owner_->withdraw(*this);
            answer.send(detail::aborted(), T{});
        }

        void run() noexcept override
        {
            if (answer.claimed()) return;
            const std::stop_callback on_close{owner_->closing(), [this] { stop_.request_stop(); }};
            std::exception_ptr failure;
            T value{};
            try {
                value = job_(owner_->fetches(), stop_.get_token());
            } catch (const fetching::hub_fault& problem) {
                failure = std::make_exception_ptr(error{problem.code(), problem.what()});
            } catch (...) {
                failure = std::current_exception();
            }
            if (failure && owner_->closing().stop_requested()) failure = closed();
            answer.answer(std::move(failure), std::move(value));
        }

        void abandon(std::exception_ptr why) noexcept override
        {
            if (!why || owner_->closing().stop_requested()) why = closed();
            answer.answer(std::move(why), T{});
        }

        detail::reply<T> answer;

    private:
        static std::exception_ptr closed()
        {
            return std::make_exception_ptr(error{errc::closed, "the hub is closed"});
        }

        std::shared_ptr<core> owner_;
        work job_;
        std::stop_source stop_;
    };

    template <class T>
    static awaitable<T> perform(std::shared_ptr<core> self, typename call<T>::work job)
    {
        self->check_process();
        auto one = std::make_shared<call<T>>(std::move(self), std::move(job));
        auto answer = detail::await_reply<T>(std::move(one));
        co_return co_await std::move(answer);
    }

    // A fetch with progress: the last event comes before the result, on the caller's executor.
    template <class T, class F>
    static awaitable<T>
    measure(std::shared_ptr<core> self, std::string repo, on_fetch_progress progress, F job)
    {
        const executor ex = co_await boost::asio::this_coro::executor;
        std::shared_ptr<progress_pipe> pipe;
        fetching::meter::sink sink;
        if (progress) {
            pipe = std::make_shared<progress_pipe>(ex, progress);
            sink = [pipe](const fetch_progress& now) { pipe->offer(now); };
        }
        const pipe_end end{pipe};
        auto done = std::make_shared<fetching::meter>(std::move(repo), std::move(sink));
        typename call<T>::work work =
            [done,
             job = std::move(job)](fetching::fetch_core& fetches, const std::stop_token& stop) {
                return job(fetches, *done, stop);
            };
        auto running = perform<T>(std::move(self), std::move(work));
        T result = co_await std::move(running);
        if (pipe) {
            pipe->close();
            progress(done->last());
        }
        co_return result;
    }

    static awaitable<fetched> fetch_files(
        std::shared_ptr<core> self, fetching::fetch_request request, on_fetch_progress progress)
    {
        std::string id = request.repo.id();
        auto job =
            [request = std::move(request)](
                fetching::fetch_core& fetches, fetching::meter& done, const std::stop_token& stop) {
                return fetches.blocking_fetch(request, done, stop);
            };
        auto all =
            measure<fetched>(std::move(self), std::move(id), std::move(progress), std::move(job));
        co_return co_await std::move(all);
    }

    static awaitable<snapshot>
    fetch(std::shared_ptr<core> self, fetching::fetch_request request, on_fetch_progress progress)
    {
        auto all = fetch_files(std::move(self), std::move(request), std::move(progress));
        const fetched found = co_await std::move(all);
        co_return found.snapshot();
    }

private:
    const hub_options options_;
    const pid_t pid_{::getpid()};
    std::stop_source closing_;
    std::unique_ptr<fetching::fetch_core> fetches_;
    std::mutex mutex_;
    std::unique_ptr<thread_pool> threads_;
};

hub::hub()
    : hub{hub_options::from_environment()}
{}

hub::hub(hub_options options)
    : core_{std::make_shared<core>(std::move(options))}
{}

hub::hub(const executor&)
    : hub{}
{}

hub::hub(const executor&, hub_options options)
    : hub{std::move(options)}
{}

hub::~hub()
{
    core_->blocking_close();
}

const hub_options& hub::options() const noexcept
{
    return core_->options();
}

awaitable<snapshot>
hub::fetch(repository repo, file_selection selection, on_fetch_progress progress)
{
    const fetch_options options = fetch_options{}.skip_missing(true);
    fetching::fetch_request request{std::move(repo), std::move(selection), options};
    return core::fetch(core_, std::move(request), std::move(progress));
}

awaitable<fetched> hub::fetch_files(
    repository repo, file_selection selection, fetch_options options, on_fetch_progress progress)
{
    fetching::fetch_request request{std::move(repo), std::move(selection), std::move(options)};
    return core::fetch_files(core_, std::move(request), std::move(progress));
}

awaitable<std::filesystem::path> hub::fetch_file(
    repository repo, std::string path, fetch_options options, on_fetch_progress progress)
{
    std::string id = repo.id();
    fetching::fetch_request request{std::move(repo), file_selection{}, std::move(options)};
    auto job =
        [request = std::move(request), path = std::move(path)](
            fetching::fetch_core& fetches, fetching::meter& done, const std::stop_token& stop) {
            return fetches.blocking_fetch_file(request, path, done, stop);
        };
    return core::measure<std::filesystem::path>(
        core_, std::move(id), std::move(progress), std::move(job));
}

awaitable<std::vector<std::byte>> hub::get(std::string url, url_limits limits)
{
    return core::perform<std::vector<std::byte>>(
        core_,
        [url = std::move(url), limits](fetching::fetch_core& fetches, const std::stop_token& stop) {
            return fetches.blocking_get(url, limits, stop);
        });
}

awaitable<std::vector<cached_repository>> hub::cached()
{
    return core::perform<std::vector<cached_repository>>(
        core_, [](fetching::fetch_core& fetches, const std::stop_token& stop) {
            return fetching::blocking_scan(fetches.options().cache_dir(), stop);
        });
}

awaitable<std::vector<cache_fault>> hub::verify(std::string id)
{
    return core::perform<std::vector<cache_fault>>(
        core_, [id = std::move(id)](fetching::fetch_core& fetches, const std::stop_token& stop) {
            return fetching::blocking_verify(fetches.options().cache_dir(), id, stop);
        });
}

awaitable<pruned> hub::prune(prune_options options)
{
    return core::perform<pruned>(
        core_,
        [options = std::move(options)](fetching::fetch_core& fetches, const std::stop_token& stop) {
            return fetching::blocking_prune(fetches.options().cache_dir(), options, stop);
        });
}

awaitable<snapshot> hub::import_folder(std::filesystem::path dir, repository repo)
{
    return core::perform<snapshot>(
        core_,
        [dir = std::move(dir),
         repo = std::move(repo)](fetching::fetch_core& fetches, const std::stop_token& stop) {
            const hub_options& options = fetches.options();
            return fetching::blocking_import(
                options.cache_dir(), dir, repo, options.symlinks(), stop);
        });
}

}  // namespace modelpool
