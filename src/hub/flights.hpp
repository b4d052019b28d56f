#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>

#include "hub/api_json.hpp"

namespace modelpool::fetching {

/// What became of a blob.
struct blob_result {
    std::string blob;
    std::string commit;
    std::uint64_t bytes{0};
    bool cached{false};
    bool verified{false};
};

/// Hears how many bytes of a file are there.
using on_file_bytes = std::function<void(std::uint64_t)>;

/// Lets the threads that want the same thing share one download of it. The first does the work, and
/// goes on with it for the others when its own caller leaves; the work is stopped when nobody is
/// left. Thread-safe.
class flights {
public:
    using work = std::function<blob_result(const std::stop_token&, const on_file_bytes&)>;

    flights();
    ~flights();
    flights(const flights&) = delete;
    flights& operator=(const flights&) = delete;
    flights(flights&&) = delete;
    flights& operator=(flights&&) = delete;

    /// Errors: those of the work; operation_aborted once `stop` asks.
    blob_result blocking_join(
        const std::string& key,
        const std::stop_token& stop,
        const on_file_bytes& on_bytes,
        const work& make);

private:
    struct flight;
    struct state;
    std::shared_ptr<state> state_;
};

}  // namespace modelpool::fetching
