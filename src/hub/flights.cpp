#include "hub/flights.hpp"

#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <utility>

#include "hub/engine.hpp"

namespace modelpool::fetching {

struct flights::flight {
    std::mutex mutex;  // taken after the one of `state`, and before those of enclosing flights
    std::condition_variable_any changed;
    std::stop_source stop;
    std::list<const on_file_bytes*> listeners;
    std::uint64_t n_bytes{0};
    bool done{false};
    std::exception_ptr problem;
    blob_result result;
};

struct flights::state {
    std::mutex mutex;
    std::map<std::string, std::shared_ptr<flight>> under_way;

    void forget(const std::string& key, const std::shared_ptr<flight>& one)
    {
        const auto place = under_way.find(key);
        if (place != under_way.end() && place->second == one) under_way.erase(place);
    }

    /// One caller less; the last stops the work, and newcomers begin afresh.
    void leave(const std::string& key, const std::shared_ptr<flight>& one, const on_file_bytes& me)
    {
        {
            const std::lock_guard lock{mutex};
            const std::lock_guard inside{one->mutex};
            one->listeners.remove(&me);
            if (one->done || !one->listeners.empty()) return;
            forget(key, one);
        }
        one->stop.request_stop();
    }

    void blocking_work(const std::string& key, const std::shared_ptr<flight>& one, const work& make)
    {
        const on_file_bytes tell = [&one](std::uint64_t n_bytes) {
            const std::lock_guard lock{one->mutex};
            one->n_bytes = n_bytes;
            for (const on_file_bytes* listener : one->listeners)
                (*listener)(n_bytes);
        };
        std::exception_ptr problem;
        blob_result result;
        try {
            result = make(one->stop.get_token(), tell);
        } catch (...) {
            problem = std::current_exception();
        }
        const std::lock_guard lock{mutex};
        const std::lock_guard inside{one->mutex};
        one->done = true;
        one->problem = std::move(problem);
        one->result = std::move(result);
        forget(key, one);
        one->changed.notify_all();
    }
};

flights::flights()
    : state_{std::make_shared<state>()}
{}

flights::~flights() = default;

blob_result flights::blocking_join(
    const std::string& key,
    const std::stop_token& stop,
    const on_file_bytes& on_bytes,
    const work& make)
{
    end_if_stopped(stop);
    std::shared_ptr<flight> one;
    bool first = false;
    {
        const std::lock_guard lock{state_->mutex};
        std::shared_ptr<flight>& place = state_->under_way[key];
        first = !place;
        if (first) place = std::make_shared<flight>();
        one = place;
        const std::lock_guard inside{one->mutex};
        one->listeners.push_back(&on_bytes);
        if (one->n_bytes != 0) on_bytes(one->n_bytes);
    }
    const std::stop_callback on_stop{stop, [&] { state_->leave(key, one, on_bytes); }};
    if (first) {
        state_->blocking_work(key, one, make);
    } else {
        std::unique_lock lock{one->mutex};
        one->changed.wait(lock, stop, [&] { return one->done; });
    }
    end_if_stopped(stop);
    const std::lock_guard lock{one->mutex};
    one->listeners.remove(&on_bytes);
    if (one->problem) std::rethrow_exception(one->problem);
    return one->result;
}

}  // namespace modelpool::fetching
