#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <openssl/ssl.h>
#include <sys/types.h>

namespace modelpool::testing {

/// What a client asked for.
struct seen_request {
    std::string method;
    std::string target;
    std::map<std::string, std::string> headers;  // names in lower case
    std::size_t n_before{0};                     // requests for the same path before this one

    std::string path() const { return target.substr(0, target.find('?')); }
    std::string header(const std::string& name) const
    {
        const auto place = headers.find(name);
        return place == headers.end() ? "" : place->second;
    }
    /// [begin, end) of the closed range that is asked for; {0, size} where none is.
    std::pair<std::uint64_t, std::uint64_t> range(std::uint64_t size) const;
};

/// One connection of a client, on a thread of its own.
class connection {
public:
    /// `tls`, where there is one, is an SSL after its handshake; the connection frees it.
    connection(int fd, std::atomic<std::uint64_t>& n_sent, SSL* tls)
        : fd_{fd}
        , n_sent_{n_sent}
        , tls_{tls}
    {}
    ~connection() { SSL_free(tls_); }
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    connection(connection&&) = delete;
    connection& operator=(connection&&) = delete;

    ssize_t receive(char* block, std::size_t n_bytes) const;
    bool send(std::string_view bytes);

    /// An answer with a body of its full length.
    void respond(int status, const std::string& headers, std::string_view body = {});
    void head(int status, const std::string& headers);
    /// A file, or the range of it that is asked for.
    void serve(const seen_request& asked, std::string_view content, std::string headers);
    /// Lets the system hold so many bytes that were not sent yet, and no more.
    void keep_little_unsent(std::size_t n_bytes) const;
    /// Ends the connection after this answer.
    void close() { open = false; }
    /// Ends it with a reset.
    void reset();
    /// Waits, but not longer than the server lives and the client stays.
    void hold(std::chrono::milliseconds time) const;

    bool open{true};

private:
    int fd_;
    std::atomic<std::uint64_t>& n_sent_;
    SSL* tls_;
};

/// An HTTP/1.1 server on loopback whose every byte the test decides.
class fault_server {
public:
    using handler = std::function<void(const seen_request&, connection&)>;

    /// With `tls`, which outlives the server, it speaks https.
    explicit fault_server(handler handle, SSL_CTX* tls = nullptr);
    ~fault_server();
    fault_server(const fault_server&) = delete;
    fault_server& operator=(const fault_server&) = delete;
    fault_server(fault_server&&) = delete;
    fault_server& operator=(fault_server&&) = delete;

    std::string url() const;
    int port() const noexcept { return port_; }

    std::vector<seen_request> seen() const;
    std::size_t n_seen(const std::string& part = {}) const;
    void forget();
    std::uint64_t n_sent() const { return n_sent_; }

private:
    void accept();
    void serve(int fd);
    bool read(const connection& peer, std::string& buffer, seen_request& asked);

    const handler handle_;
    SSL_CTX* const tls_;
    const int listener_;
    int port_{0};
    std::atomic<bool> closed_{false};
    std::atomic<std::uint64_t> n_sent_{0};
    mutable std::mutex mutex_;
    std::list<int> sockets_;
    std::list<std::thread> threads_;
    std::vector<seen_request> seen_;
    std::map<std::string, std::size_t> n_of_;
    std::thread acceptor_;
};

}  // namespace modelpool::testing
