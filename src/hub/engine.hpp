#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "hub/http_rules.hpp"

namespace modelpool::fetching {

/// What all requests of a hub have in common.
struct engine_options {
    std::string user_agent;
    std::string http_proxy;
    std::string https_proxy;
    std::string no_proxy;
    std::string ca_file;
    std::string ca_dir;
};

struct http_request {
    std::string url;
    std::string what;  ///< for messages: a signed URL is a secret
    std::vector<std::string> headers;
    std::chrono::milliseconds connect_timeout{10'000};
    std::chrono::milliseconds first_byte{0};  ///< until the headers are there; zero: any time
    std::chrono::milliseconds total{0};       ///< zero: any time
    bool bulk{false};                         ///< a connection of its own, so a window of its own
    bool fresh{false};                        ///< no connection that was used before
    bool decode{false};                       ///< takes gzip, and undoes it
    bool public_only{false};                  ///< directly, and to public addresses only
};

/// Receives an answer on the engine's thread. Must not block for long, and must not throw.
class exchange_sink {
public:
    exchange_sink() = default;
    exchange_sink(const exchange_sink&) = delete;
    exchange_sink& operator=(const exchange_sink&) = delete;
    exchange_sink(exchange_sink&&) = delete;
    exchange_sink& operator=(exchange_sink&&) = delete;
    virtual ~exchange_sink() = default;

    /// The headers are there. False: no more of it.
    virtual bool head(const response_head& got) noexcept = 0;
    virtual bool body(std::span<const char> bytes) noexcept = 0;
    /// It is over, for whatever reason; called once. Empty: well, or the sink wanted no more.
    virtual void end(std::optional<hub_fault> problem) noexcept = 0;
};

/// HTTP exchanges over libcurl, all on one thread. Thread-safe. Destroying it ends what is under
/// way with fault::closed.
class engine {
public:
    using id = std::uint64_t;

    explicit engine(engine_options options);
    ~engine();
    engine(const engine&) = delete;
    engine& operator=(const engine&) = delete;
    engine(engine&&) = delete;
    engine& operator=(engine&&) = delete;

    id start(http_request request, std::shared_ptr<exchange_sink> sink);
    /// Ends an exchange soon, with fault::stalled; ignored where it is over.
    void cancel(id which);

private:
    struct state;
    std::unique_ptr<state> state_;
};

struct http_answer {
    response_head head;
    std::string body;
    bool cut{false};  ///< the body is larger than allowed, and left out
};

/// Makes a request and waits for its answer. A body of more than `max_bytes` is cut.
/// Errors: hub_fault; operation_aborted once `stop` asks.
http_answer blocking_perform(
    engine& http, http_request request, std::size_t max_bytes, const std::stop_token& stop);

/// Throws operation_aborted where `stop` asks.
void end_if_stopped(const std::stop_token& stop);
/// Sleeps, and throws operation_aborted as soon as `stop` asks.
void blocking_sleep(std::chrono::milliseconds time, const std::stop_token& stop);

}  // namespace modelpool::fetching
