#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace modelpool::fetching {

/// A hash of bytes as they come.
class digest {
public:
    static digest sha256();
    /// git's name of a file's content: the sha1 of "blob <length>\0" and the bytes.
    static digest git_blob(std::uint64_t n_bytes);
    /// The hash that gives the blob its name; empty where the name is no hash. A git sha1 needs the
    /// length in advance.
    static std::optional<digest> for_blob(std::string_view name, std::uint64_t n_bytes);

    digest(digest&&) noexcept;
    digest& operator=(digest&&) noexcept;
    digest(const digest&) = delete;
    digest& operator=(const digest&) = delete;
    ~digest();

    void update(std::span<const char> bytes);
    /// The hash in hexadecimal digits. Precondition: called once.
    std::string finish();

private:
    struct state;
    explicit digest(std::unique_ptr<state> fresh);
    std::unique_ptr<state> state_;
};

}  // namespace modelpool::fetching
