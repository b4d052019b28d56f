#include "hub/transfer.hpp"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "hub/path_rules.hpp"
#include "support/stop.hpp"

#include <unistd.h>

namespace modelpool::fetching {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t hash_block_bytes = std::uint64_t{256} << 10U;  // stays in a core's cache
constexpr std::uint64_t save_every_bytes = std::uint64_t{64} << 20U;
constexpr milliseconds save_every{250};
constexpr milliseconds tick{50};
constexpr std::uint64_t progress_bytes = std::uint64_t{256} << 10U;
constexpr std::uint64_t slowest_bytes_per_second = 1024;
// Stands for a length that nobody named; no file is as long.
constexpr std::uint64_t endless = std::uint64_t{1} << 60U;

}  // namespace

bool stall_watch::stalled(time_point now, std::uint64_t n_bytes)
{
    if (n_bytes != seen_) {
        seen_ = n_bytes;
        last_byte_ = now;
    }
    if (now - last_byte_ >= idle_) return true;
    if (now - window_ < slow_) return false;
    const auto wanted = slowest_bytes_per_second *
                        static_cast<std::uint64_t>(std::max<std::int64_t>(slow_.count(), 0)) / 1000;
    const bool slow = n_bytes - window_bytes_ < wanted;
    window_ = now;
    window_bytes_ = n_bytes;
    return slow;
}

// How a piece ended.
struct transfer::ending {
    range_plan::piece_id piece{0};
    std::optional<hub_fault> problem;
    int status{0};
    bool no_ranges{false};    ///< the server sent the whole file in place of a range
    bool other_range{false};  ///< the server sent other bytes than were asked for
};

// What the transfer's thread and the engine's share.
struct transfer::board {
    board(range_plan fresh, std::shared_ptr<file_handle> to)
        : plan{std::move(fresh)}
        , file{std::move(to)}
    {}
    std::mutex mutex;
    std::condition_variable_any changed;
    range_plan plan;
    const std::shared_ptr<file_handle> file;
    std::string etag;  // of the server that has the bytes, where it promises the same ones
    std::deque<ending> endings;
    int disk_problem{0};
};

// Writes one piece's bytes where they belong.
class transfer::piece_sink final : public exchange_sink {
public:
    piece_sink(
        std::shared_ptr<board> shared, const range_plan::piece& one, bool whole, std::string what)
        : board_{std::move(shared)}
        , piece_{one}
        , whole_{whole}
        , what_{std::move(what)}
    {}

    bool head(const response_head& got) noexcept override
    {
        ending_.status = got.status;
        const std::lock_guard lock{board_->mutex};
        if (got.find("content-encoding").value_or("identity") != "identity")
            return refuse("an encoded answer to a request for plain bytes");
        if (got.status == 206) return take_range(got);
        if (got.status != 200) {
            ending_.problem = classify(got, {}, what_);
            return false;
        }
        if (!whole_ && !(piece_.next == 0 && piece_.end == board_->plan.size())) {
            ending_.no_ranges = true;
            return false;
        }
        const auto length = parse_length(got.find("content-length").value_or(""));
        if (length && board_->plan.size() != endless && *length != board_->plan.size())
            return refuse("a file of another length than promised");
        n_to_skip_ = piece_.next;
        return true;
    }

    // Writes without the lock, which the hashing thread asks for at every block. Another piece may
    // take over the rest meanwhile, but never bytes that are being written.
    bool body(std::span<const char> bytes) noexcept override
    {
        const std::size_t n_skip = std::min<std::uint64_t>(n_to_skip_, bytes.size());
        n_to_skip_ -= n_skip;
        bytes = bytes.subspan(n_skip);
        while (!bytes.empty()) {
            const byte_range own = claim(bytes.size());
            if (own.begin == own.end) return false;
            const ssize_t n = ::pwrite(
                board_->file->fd(),
                bytes.data(),
                own.end - own.begin,
                static_cast<off_t>(own.begin));
            if (n < 0 && errno == EINTR) continue;
            const std::lock_guard lock{board_->mutex};
            if (n <= 0) {
                board_->disk_problem = n < 0 ? errno : EIO;
                board_->changed.notify_all();
                return false;
            }
            board_->plan.wrote(piece_.id, static_cast<std::uint64_t>(n));
            bytes = bytes.subspan(static_cast<std::size_t>(n));
        }
        return true;
    }

    void end(std::optional<hub_fault> problem) noexcept override
    {
        const std::lock_guard lock{board_->mutex};
        if (!ending_.problem && problem) ending_.problem = std::move(problem);
        ending_.piece = piece_.id;
        board_->endings.push_back(std::move(ending_));
        board_->changed.notify_all();
    }

private:
    // Where the next bytes go, and how many of them; empty where the piece has all of its own.
    byte_range claim(std::uint64_t n_bytes) const
    {
        const std::lock_guard lock{board_->mutex};
        const range_plan::piece* const piece = board_->plan.find(piece_.id);
        if (piece == nullptr) return {};
        return {piece->next, piece->next + board_->plan.accept(piece_.id, n_bytes)};
    }

    bool refuse(const char* why)
    {
        ending_.problem = hub_fault{fault::network, what_ + ": " + why};
        return false;
    }

    bool take_range(const response_head& got)
    {
        const auto range = parse_content_range(got.find("content-range").value_or(""));
        const bool fits = range && !range->unsatisfied && range->begin == piece_.next &&
                          range->end <= piece_.end &&
                          range->total.value_or(board_->plan.size()) == board_->plan.size();
        if (!fits) {
            ending_.other_range = true;
            return refuse("other bytes than were asked for");
        }
        const std::string etag = got.find("etag").value_or("");
        if (is_strong_etag(etag) && board_->etag.empty()) board_->etag = etag;
        return true;
    }

    const std::shared_ptr<board> board_;
    const range_plan::piece piece_;
    const bool whole_;
    const std::string what_;
    ending ending_;
    std::uint64_t n_to_skip_{0};
};

transfer::transfer(
    const hub_options& options,
    client& hub,
    engine& http,
    stream_budget& budget,
    file_address address,
    opened_file source,
    partial_file& target)
    : options_{options}
    , hub_{hub}
    , http_{http}
    , budget_{budget}
    , address_{std::move(address)}
    , source_{std::move(source)}
    , target_{target}
    , size_known_{source_.facts.size.has_value()}
    , blob_{source_.facts.etag}
    , board_{std::make_shared<board>(
          range_plan{source_.facts.size.value_or(endless), target.done()}, target.file())}
    , control_{options.n_streams()}
    , retries_{hub.fresh_plan()}
    , no_ranges_{!size_known_}
{
    resumed_bytes_ = board_->plan.done_bytes();
    progress_mark_ = renew_mark_ = saved_bytes_ = second_bytes_ = resumed_bytes_;
    if (options_.verify() == verification::full && size_known_)
        hash_ = digest::for_blob(blob_, *source_.facts.size);
}

transfer::~transfer()
{
    blocking_end_all();
}

std::uint64_t transfer::blocking_run(
    const std::stop_token& stop, const std::function<void(std::uint64_t)>& on_bytes)
{
    try {
        blocking_download(stop, on_bytes);
    } catch (...) {
        blocking_end_all();
        save_at_end();
        throw;
    }
    blocking_end_all();
    const std::uint64_t size = board_->plan.prefix_bytes();
    on_bytes(size);
    return size;
}

// What ended the download matters more than a disk that takes no journal.
void transfer::save_at_end() noexcept
{
    try {
        target_.blocking_save(board_->plan.done());
    } catch (const std::exception& problem) {
        hub_.log(log_level::warning, problem.what());
    }
}

void transfer::blocking_download(
    const std::stop_token& stop, const std::function<void(std::uint64_t)>& on_bytes)
{
    saved_at_ = second_began_ = std::chrono::steady_clock::now();
    for (;;) {
        end_if_stopped(stop);
        take_ends(stop);
        const auto now = std::chrono::steady_clock::now();
        std::uint64_t done = 0;
        {
            const std::lock_guard lock{board_->mutex};
            if (board_->disk_problem != 0)
                fail_on_disk(target_.path(), "cannot be written", board_->disk_problem);
            done = board_->plan.done_bytes();
            if (board_->plan.complete() || ended_) return;
        }
        if (done - progress_mark_ >= progress_bytes) {
            progress_mark_ = done;
            retries_.progress();
        }
        start_streams(now);
        give_up_stalled(now);
        count_second(now);
        save_if_due(now);
        on_bytes(done);
        if (blocking_follow()) continue;
        std::unique_lock lock{board_->mutex};
        board_->changed.wait_for(lock, stop, tick, [this] { return !board_->endings.empty(); });
    }
}

void transfer::start_streams(time_point now)
{
    if (now < not_before_ || ended_) return;
    const std::size_t n_wanted = no_ranges_ ? 1 : control_.n_wanted();
    all_started_ = false;
    while (streams_.size() < n_wanted && start_one()) {
    }
}

bool transfer::start_one()
{
    const bool budgeted = !streams_.empty();
    if (budgeted && !budget_.try_take()) return false;
    std::optional<range_plan::piece> next;
    http_request request;
    {
        const std::lock_guard lock{board_->mutex};
        if (!no_ranges_)
            next = board_->plan.start();
        else if (streams_.empty())
            next = board_->plan.start_rest();
        if (next && !no_ranges_) {
            request.headers = hub_.headers_for(source_.url, source_.with_token);
            request.headers.push_back(
                "Range: bytes=" + std::to_string(next->next) + "-" + std::to_string(next->end - 1));
            if (!board_->etag.empty()) request.headers.push_back("If-Range: " + board_->etag);
        }
    }
    if (!next) {
        all_started_ = true;
        if (budgeted) budget_.give_back();
        return false;
    }
    if (no_ranges_) request.headers = hub_.headers_for(source_.url, source_.with_token);
    request.url = source_.url;
    request.what = address_.str();
    request.bulk = true;
    request.fresh = retries_.n_failures() >= 2;
    request.connect_timeout = options_.download_timeout();
    auto sink = std::make_shared<piece_sink>(board_, *next, no_ranges_, address_.str());
    const auto now = std::chrono::steady_clock::now();
    stream fresh{
        0,
        stall_watch{now, options_.download_timeout(), options_.low_speed_time()},
        next->next,
        generation_,
        budgeted};
    fresh.exchange = http_.start(std::move(request), std::move(sink));
    streams_.emplace(next->id, fresh);
    return true;
}

void transfer::take_ends(const std::stop_token& stop)
{
    for (;;) {
        ending one;
        bool is_done = false;
        {
            const std::lock_guard lock{board_->mutex};
            if (board_->endings.empty()) return;
            one = std::move(board_->endings.front());
            board_->endings.pop_front();
            const range_plan::piece* const piece = board_->plan.find(one.piece);
            is_done = piece != nullptr && piece->done();
            board_->plan.stop(one.piece);
        }
        const auto place = streams_.find(one.piece);
        const stream ended = place->second;
        streams_.erase(place);
        if (ended.budgeted) budget_.give_back();
        if (is_done) {
            retries_.progress();
            continue;
        }
        if (ended.dropped) continue;
        if (!size_known_ && !one.problem) {
            ended_ = true;
            continue;
        }
        take_ending(ended, one, stop);
    }
}

void transfer::take_ending(const stream& ended, const ending& one, const std::stop_token& stop)
{
    if (one.no_ranges || (one.other_range && ++n_refused_ >= 2)) {
        use_one_stream();
        return;
    }
    const hub_fault why = one.problem.value_or(
        hub_fault{fault::network, address_.str() + ": the answer ended before its end"});
    if (!size_known_) {
        // What has no length cannot be gone on with.
        const std::lock_guard lock{board_->mutex};
        board_->plan.restart();
    }
    if (one.status == 401 || one.status == 403 || one.status == 410) {
        if (ended.generation == generation_) blocking_renew(why, stop);
        return;
    }
    if (one.status == 416 && !restarted_) {
        blocking_restart();
        return;
    }
    if (why.kind() == fault::rate_limited || one.status == 503) control_.overloaded();
    if (why.kind() == fault::network || why.kind() == fault::stalled) control_.trouble();
    pause_for(why);
}

// For servers that know no ranges: everything from the first hole on, in one answer.
void transfer::use_one_stream()
{
    no_ranges_ = true;
    cancel_all();
}

// What is here cannot be gone on with.
void transfer::blocking_restart()
{
    restarted_ = true;
    blocking_end_all();
    const std::lock_guard lock{board_->mutex};
    board_->plan.restart();
    if (hash_) hash_ = digest::for_blob(blob_, board_->plan.size());
    hashed_bytes_ = 0;
}

void transfer::pause_for(const hub_fault& problem)
{
    const milliseconds pause = retries_.after(problem);
    if (problem.wait) hub_.close_gate(source_.url, pause);
    not_before_ = std::chrono::steady_clock::now() + pause;
}

// Signed addresses expire: the hub gives a new one, for the same place in the file.
void transfer::blocking_renew(const hub_fault& problem, const std::stop_token& stop)
{
    std::uint64_t done = 0;
    {
        const std::lock_guard lock{board_->mutex};
        done = board_->plan.done_bytes();
        board_->etag.clear();
    }
    const bool moved = done > renew_mark_ || !renewed_;
    renew_mark_ = done;
    renewed_ = true;
    if (!moved) {
        if (++n_refused_ >= 3 && !no_ranges_) use_one_stream();
        pause_for(hub_fault{fault::server, problem.what()});
    }
    opened_file again = hub_.blocking_open(address_, false, stop);
    if (again.facts.etag != blob_)
        throw hub_fault{
            fault::mismatch,
            address_.str() + ": the file changed while it was downloaded, from " + blob_ + " to " +
                shown(again.facts.etag)};
    source_.url = again.url;
    source_.with_token = again.with_token;
    ++generation_;
}

void transfer::give_up_stalled(time_point now)
{
    for (auto& [id, one] : streams_) {
        std::uint64_t n_bytes = 0;
        {
            const std::lock_guard lock{board_->mutex};
            const range_plan::piece* const piece = board_->plan.find(id);
            if (piece != nullptr) n_bytes = piece->next - one.begin;
        }
        if (!one.stalled && one.watch.stalled(now, n_bytes)) {
            one.stalled = true;
            http_.cancel(one.exchange);
        }
    }
}

void transfer::cancel_all()
{
    for (auto& [id, one] : streams_) {
        one.dropped = true;
        http_.cancel(one.exchange);
    }
}

void transfer::blocking_end_all()
{
    cancel_all();
    while (!streams_.empty()) {
        std::unique_lock lock{board_->mutex};
        board_->changed.wait(lock, [this] { return !board_->endings.empty(); });
        const auto piece = board_->endings.front().piece;
        board_->endings.pop_front();
        board_->plan.stop(piece);
        const auto place = streams_.find(piece);
        if (place->second.budgeted) budget_.give_back();
        streams_.erase(place);
    }
}

// Hashes a block of what is there without a hole; false where there is none.
bool transfer::blocking_follow()
{
    if (!hash_) return false;
    std::uint64_t prefix = 0;
    {
        const std::lock_guard lock{board_->mutex};
        prefix = board_->plan.prefix_bytes();
    }
    const auto n_wanted =
        static_cast<std::size_t>(std::min(hash_block_bytes, prefix - hashed_bytes_));
    if (n_wanted == 0) return false;
    block_.resize(hash_block_bytes);
    const ssize_t n =
        ::pread(board_->file->fd(), block_.data(), n_wanted, static_cast<off_t>(hashed_bytes_));
    if (n <= 0) fail_on_disk(target_.path(), "cannot be read", n < 0 ? errno : EIO);
    hash_->update({block_.data(), static_cast<std::size_t>(n)});
    hashed_bytes_ += static_cast<std::uint64_t>(n);
    return true;
}

void transfer::save_if_due(time_point now)
{
    std::vector<byte_range> done;
    std::uint64_t done_bytes = 0;
    {
        const std::lock_guard lock{board_->mutex};
        done_bytes = board_->plan.done_bytes();
        const bool due = now - saved_at_ >= save_every ||
                         done_bytes - std::min(done_bytes, saved_bytes_) >= save_every_bytes;
        if (!size_known_ || !due) return;
        done = board_->plan.done();
    }
    target_.blocking_save(done);
    saved_at_ = now;
    saved_bytes_ = done_bytes;
}

void transfer::count_second(time_point now)
{
    if (now - second_began_ < seconds{1}) return;
    second_began_ = now;
    {
        const std::lock_guard lock{board_->mutex};
        const std::uint64_t done = board_->plan.done_bytes();
        control_.second(done - std::min(done, second_bytes_), streams_.size());
        second_bytes_ = done;
    }
    rescue_slowest();
}

// Where nothing is left to begin, a connection that lags far behind what others reached keeps
// everybody waiting: the rest of its piece goes to another one.
void transfer::rescue_slowest()
{
    constexpr int n_most_rescued = 3;
    constexpr std::uint64_t far_behind = 8;
    constexpr std::uint64_t soon_seconds = 3;
    stream* slowest = nullptr;
    std::uint64_t slowest_bytes = 0;
    const std::lock_guard lock{board_->mutex};
    for (auto& [id, one] : streams_) {
        const range_plan::piece* const piece = board_->plan.find(id);
        if (piece == nullptr || one.dropped || one.stalled) continue;
        const std::uint64_t n_bytes = piece->next - one.begin;
        const std::uint64_t in_second = n_bytes - one.seen_bytes;
        one.seen_bytes = n_bytes;
        best_second_bytes_ = std::max(best_second_bytes_, in_second);
        const bool young = one.n_seconds++ == 0;
        const bool soon = piece->end - piece->next <= in_second * soon_seconds;
        if (young || soon || in_second * far_behind >= best_second_bytes_) continue;
        if (slowest == nullptr || in_second < slowest_bytes) {
            slowest = &one;
            slowest_bytes = in_second;
        }
    }
    if (slowest == nullptr || !all_started_ || no_ranges_ || n_rescued_ >= n_most_rescued) return;
    ++n_rescued_;
    slowest->dropped = true;
    http_.cancel(slowest->exchange);
}

std::optional<std::string> transfer::blocking_finish_hash(const std::stop_token& stop)
{
    if (options_.verify() != verification::full) return std::nullopt;
    if (!size_known_) return blocking_hash(target_.path(), blob_, stop);
    if (!hash_) return std::nullopt;
    while (blocking_follow())
        end_if_stopped(stop);
    return hash_->finish();
}

}  // namespace modelpool::fetching
