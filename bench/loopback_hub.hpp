#pragma once

// A hub on this machine, so that what is measured is the program and not a network.

#include <cstddef>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace modelpool::bench {

struct served_file {
    std::string path;
    std::string content;
    bool large{false};  ///< named by its sha256 and reached by a redirect, as large files are
};

/// Serves the repository "org/model" at one commit, over HTTP on loopback, from memory: a thread
/// for each connection.
class loopback_hub {
public:
    static constexpr const char* commit = "0123456789abcdef0123456789abcdef01234567";

    /// Errors: std::system_error where loopback cannot be listened on.
    explicit loopback_hub(std::vector<served_file> files);
    ~loopback_hub();
    loopback_hub(const loopback_hub&) = delete;
    loopback_hub& operator=(const loopback_hub&) = delete;
    loopback_hub(loopback_hub&&) = delete;
    loopback_hub& operator=(loopback_hub&&) = delete;

    /// What a hub's options take for its endpoint.
    std::string url() const;

private:
    struct blob {
        std::string name;
        std::string content;
        bool large{false};
    };

    void accept();
    void serve(int fd);
    bool answer(int fd, std::string_view head) const;
    bool answer_file(int fd, const blob& one, std::string_view head) const;

    std::map<std::string, blob> files_;  // by path
    std::map<std::string, const blob*> by_name_;
    std::string listing_;
    int listener_;
    int port_{0};
    std::mutex mutex_;
    std::list<int> sockets_;
    std::list<std::thread> threads_;
    bool closed_{false};
    std::thread acceptor_;
};

}  // namespace modelpool::bench
