#include "hub/engine.hpp"

#include <modelpool/assert.hpp>

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "hub/address_rules.hpp"
#include "support/stop.hpp"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

namespace modelpool::fetching {
namespace {

constexpr long buffer_bytes = 256L * 1024;
constexpr int idle_wait_ms = 3'600'000;

// libcurl counts its users itself, but not from several threads at once.
void start_curl()
{
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    MODELPOOL_ASSERT(ready == CURLE_OK);
}

template <class T>
void set(CURL* easy, CURLoption option, T value)
{
    const CURLcode taken = curl_easy_setopt(easy, option, value);
    MODELPOOL_ASSERT(taken == CURLE_OK);
}

// One request under way.
class exchange {
public:
    exchange(
        const engine_options& options, http_request request, std::shared_ptr<exchange_sink> sink)
        : request_{std::move(request)}
        , sink_{std::move(sink)}
        , easy_{curl_easy_init()}
    {
        if (easy_ == nullptr) throw std::bad_alloc{};
        set_up(options);
    }
    ~exchange()
    {
        curl_easy_cleanup(easy_);
        curl_slist_free_all(headers_);
    }
    exchange(const exchange&) = delete;
    exchange& operator=(const exchange&) = delete;
    exchange(exchange&&) = delete;
    exchange& operator=(exchange&&) = delete;

    CURL* handle() const noexcept { return easy_; }

    void finish(CURLcode code) noexcept
    {
        if (code == CURLE_OK && !saw_head_) code = CURLE_GOT_NOTHING;
        if (code == CURLE_OK || sink_stopped_)
            sink_->end(std::nullopt);
        else
            sink_->end(problem(code));
    }

    void drop(fault kind, const char* why) noexcept
    {
        sink_->end(hub_fault{kind, request_.what + ": " + why});
    }

private:
    void set_up(const engine_options& options)
    {
        set(easy_, CURLOPT_URL, request_.url.c_str());
        set(easy_, CURLOPT_PRIVATE, static_cast<void*>(this));
        set(easy_, CURLOPT_ERRORBUFFER, message_.data());
        set(easy_, CURLOPT_NOSIGNAL, 1L);
        set(easy_, CURLOPT_FOLLOWLOCATION, 0L);
        set(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
        set(easy_, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
        set(easy_, CURLOPT_BUFFERSIZE, buffer_bytes);
        set(easy_, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        set(easy_, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request_.connect_timeout.count()));
        set(easy_, CURLOPT_TIMEOUT_MS, static_cast<long>(request_.total.count()));
        set(easy_, CURLOPT_USERAGENT, options.user_agent.c_str());
        if (!options.ca_file.empty()) set(easy_, CURLOPT_CAINFO, options.ca_file.c_str());
        if (!options.ca_dir.empty()) set(easy_, CURLOPT_CAPATH, options.ca_dir.c_str());
        set_up_connection(options);
        if (request_.decode)
            set(easy_, CURLOPT_ACCEPT_ENCODING, "gzip");
        else
            add_header("Accept-Encoding: identity");
        for (const std::string& header : request_.headers)
            add_header(header);
        set(easy_, CURLOPT_HTTPHEADER, headers_);
        set(easy_, CURLOPT_HEADERFUNCTION, &exchange::on_header);
        set(easy_, CURLOPT_HEADERDATA, static_cast<void*>(this));
        set(easy_, CURLOPT_WRITEFUNCTION, &exchange::on_body);
        set(easy_, CURLOPT_WRITEDATA, static_cast<void*>(this));
    }

    void set_up_connection(const engine_options& options)
    {
        // An empty text also keeps libcurl from reading the environment.
        const bool is_tls = request_.url.starts_with("https:");
        const std::string& proxy = is_tls ? options.https_proxy : options.http_proxy;
        set(easy_, CURLOPT_PROXY, request_.public_only ? "" : proxy.c_str());
        set(easy_, CURLOPT_NOPROXY, options.no_proxy.c_str());
        if (request_.bulk) {
            set(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
        } else {
            set(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
            set(easy_, CURLOPT_PIPEWAIT, 1L);
        }
        if (request_.fresh || request_.public_only) set(easy_, CURLOPT_FRESH_CONNECT, 1L);
        if (!request_.public_only) return;
        // A connection that others opened was not checked, and one that was is not for others.
        set(easy_, CURLOPT_FORBID_REUSE, 1L);
        set(easy_, CURLOPT_OPENSOCKETFUNCTION, &exchange::on_open);
        set(easy_, CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
    }

    void add_header(const std::string& header)
    {
        curl_slist* const longer = curl_slist_append(headers_, header.c_str());
        if (longer == nullptr) throw std::bad_alloc{};
        headers_ = longer;
    }

    static curl_socket_t on_open(void* data, curlsocktype, curl_sockaddr* address)
    {
        if (!is_public(address->addr)) {
            static_cast<exchange*>(data)->refused_ = true;
            return CURL_SOCKET_BAD;
        }
        return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    }

    static std::size_t on_header(char* bytes, std::size_t, std::size_t n_bytes, void* data)
    {
        return static_cast<exchange*>(data)->take_header({bytes, n_bytes}) ? n_bytes : 0;
    }

    static std::size_t on_body(char* bytes, std::size_t, std::size_t n_bytes, void* data)
    {
        auto& self = *static_cast<exchange*>(data);
        if (self.sink_->body({bytes, n_bytes})) return n_bytes;
        self.sink_stopped_ = true;
        return 0;
    }

    bool take_header(std::string_view line)
    {
        if (line.starts_with("HTTP/")) {
            head_.clear();
            const std::size_t space = std::min(line.find(' '), line.size() - 1);
            std::from_chars(line.data() + space + 1, line.data() + line.size(), head_.status);
            return true;
        }
        if (line != "\r\n" && line != "\n") {
            head_.add(line);
            return true;
        }
        if (head_.status < 200 || saw_head_) return true;
        saw_head_ = true;
        sink_stopped_ = !sink_->head(head_);
        return !sink_stopped_;
    }

    hub_fault problem(CURLcode code) const
    {
        fault kind = fault::network;
        long proxy_status = 0;
        curl_easy_getinfo(easy_, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
        switch (code) {
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
            kind = fault::tls;
            break;
        case CURLE_COULDNT_RESOLVE_PROXY:
            kind = fault::proxy;
            break;
        case CURLE_OPERATION_TIMEDOUT:
            kind = fault::stalled;
            break;
        case CURLE_URL_MALFORMAT:
        case CURLE_UNSUPPORTED_PROTOCOL:
            kind = fault::bad_request;
            break;
        default:
            break;
        }
        if (proxy_status >= 400) kind = fault::proxy;
        if (refused_)
            return {fault::refused, request_.what + ": leads to an address that is not public"};
        const std::string detail = message_[0] != '\0' ? message_.data() : curl_easy_strerror(code);
        return {kind, request_.what + ": " + detail};
    }

    http_request request_;
    std::shared_ptr<exchange_sink> sink_;
    CURL* easy_;
    curl_slist* headers_{nullptr};
    response_head head_;
    std::array<char, CURL_ERROR_SIZE> message_{};
    bool saw_head_{false};
    bool sink_stopped_{false};
    bool refused_{false};
};

}  // namespace

struct engine::state {
    explicit state(engine_options common)
        : options{std::move(common)}
    {
        start_curl();
        multi = curl_multi_init();
        if (multi == nullptr) throw std::bad_alloc{};
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 64L);
        thread = std::thread{[this] { run(); }};
    }
    state(const state&) = delete;
    state& operator=(const state&) = delete;
    state(state&&) = delete;
    state& operator=(state&&) = delete;
    ~state()
    {
        {
            const std::lock_guard lock{mutex};
            closed = true;
        }
        curl_multi_wakeup(multi);
        thread.join();
        curl_multi_cleanup(multi);
    }

    void run()
    {
        // A connection that the peer closed must not end the program; other signals are for others.
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
        for (;;) {
            if (take_orders()) break;
            int n_running = 0;
            curl_multi_perform(multi, &n_running);
            finish_done();
            curl_multi_poll(multi, nullptr, 0, idle_wait_ms, nullptr);
        }
        for (auto& [which, one] : running) {
            curl_multi_remove_handle(multi, one->handle());
            one->drop(fault::closed, "the hub is closed");
        }
        running.clear();
    }

    // True once the engine is to end.
    bool take_orders()
    {
        std::vector<std::pair<id, std::unique_ptr<exchange>>> fresh;
        std::vector<id> unwanted;
        bool ends = false;
        {
            const std::lock_guard lock{mutex};
            fresh.swap(started);
            unwanted.swap(cancelled);
            ends = closed;
        }
        for (auto& [which, one] : fresh) {
            curl_multi_add_handle(multi, one->handle());
            running.emplace(which, std::move(one));
        }
        for (const id which : unwanted) {
            const auto place = running.find(which);
            if (place == running.end()) continue;
            curl_multi_remove_handle(multi, place->second->handle());
            place->second->drop(fault::stalled, "no bytes came for too long");
            running.erase(place);
        }
        return ends;
    }

    void finish_done()
    {
        int n_left = 0;
        while (CURLMsg* const message = curl_multi_info_read(multi, &n_left)) {
            if (message->msg != CURLMSG_DONE) continue;
            const CURLcode code = message->data.result;
            CURL* const handle = message->easy_handle;
            const auto place = std::find_if(running.begin(), running.end(), [&](const auto& one) {
                return one.second->handle() == handle;
            });
            MODELPOOL_ASSERT(place != running.end());
            curl_multi_remove_handle(multi, handle);
            place->second->finish(code);
            running.erase(place);
        }
    }

    const engine_options options;
    CURLM* multi{nullptr};
    std::map<id, std::unique_ptr<exchange>> running;  // the thread's own
    std::mutex mutex;
    std::vector<std::pair<id, std::unique_ptr<exchange>>> started;
    std::vector<id> cancelled;
    id next_id{1};
    bool closed{false};
    std::thread thread;
};

engine::engine(engine_options options)
    : state_{std::make_unique<state>(std::move(options))}
{}

engine::~engine() = default;

engine::id engine::start(http_request request, std::shared_ptr<exchange_sink> sink)
{
    auto one = std::make_unique<exchange>(state_->options, std::move(request), std::move(sink));
    id which = 0;
    {
        const std::lock_guard lock{state_->mutex};
        which = state_->next_id++;
        state_->started.emplace_back(which, std::move(one));
    }
    curl_multi_wakeup(state_->multi);
    return which;
}

void engine::cancel(id which)
{
    {
        const std::lock_guard lock{state_->mutex};
        state_->cancelled.push_back(which);
    }
    curl_multi_wakeup(state_->multi);
}

namespace {

// Keeps an answer of bounded size for a thread that waits.
class collector final : public exchange_sink {
public:
    explicit collector(std::size_t max_bytes)
        : max_bytes_{max_bytes}
    {}

    bool head(const response_head& got) noexcept override
    {
        const std::lock_guard lock{mutex_};
        answer_.head = got;
        has_head_ = true;
        changed_.notify_all();
        const auto length = parse_length(got.find("content-length").value_or(""));
        answer_.cut = length && *length > max_bytes_;
        return !answer_.cut;
    }

    bool body(std::span<const char> bytes) noexcept override
    {
        const std::lock_guard lock{mutex_};
        if (bytes.size() > max_bytes_ - answer_.body.size()) {
            answer_.cut = true;
            return false;
        }
        answer_.body.append(bytes.data(), bytes.size());
        return true;
    }

    void end(std::optional<hub_fault> problem) noexcept override
    {
        const std::lock_guard lock{mutex_};
        problem_ = std::move(problem);
        ended_ = true;
        changed_.notify_all();
    }

    /// False where the time is over, or `stop` asks.
    bool blocking_wait_head(std::chrono::milliseconds time, const std::stop_token& stop)
    {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, stop, time, [this] { return has_head_ || ended_; });
    }
    bool blocking_wait_end(const std::stop_token& stop)
    {
        std::unique_lock lock{mutex_};
        return changed_.wait(lock, stop, [this] { return ended_; });
    }
    http_answer take()
    {
        const std::lock_guard lock{mutex_};
        if (problem_) throw hub_fault{*problem_};
        return std::move(answer_);
    }

private:
    const std::size_t max_bytes_;
    std::mutex mutex_;
    std::condition_variable_any changed_;
    http_answer answer_;
    std::optional<hub_fault> problem_;
    bool has_head_{false};
    bool ended_{false};
};

}  // namespace

http_answer blocking_perform(
    engine& http, http_request request, std::size_t max_bytes, const std::stop_token& stop)
{
    end_if_stopped(stop);
    const std::chrono::milliseconds first_byte = request.first_byte;
    auto sink = std::make_shared<collector>(max_bytes);
    const engine::id which = http.start(std::move(request), sink);
    if (first_byte.count() > 0 && !sink->blocking_wait_head(first_byte, stop)) http.cancel(which);
    if (!sink->blocking_wait_end(stop)) {
        http.cancel(which);
        end_if_stopped(stop);
    }
    return sink->take();
}

void end_if_stopped(const std::stop_token& stop)
{
    if (stop.stop_requested()) throw error{support::operation_aborted(), "cancelled"};
}

void blocking_sleep(std::chrono::milliseconds time, const std::stop_token& stop)
{
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock{mutex};
    never.wait_for(lock, stop, time, [] { return false; });
    end_if_stopped(stop);
}

}  // namespace modelpool::fetching
