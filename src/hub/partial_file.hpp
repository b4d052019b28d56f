#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hub/cache_layout.hpp"
#include "hub/journal.hpp"
#include "hub/range_plan.hpp"
#include "hub/store.hpp"

namespace modelpool::fetching {

/// A blob that is being downloaded, with the journal that lets another process go on with it.
class partial_file {
public:
    /// Goes on with what an earlier process left, or begins afresh. A size of 0 means: not known,
    /// so nothing can be gone on with.
    static partial_file
    blocking_open(const repo_layout& layout, const std::string& blob, std::uint64_t size);

    const std::shared_ptr<file_handle>& file() const noexcept { return file_; }
    const std::filesystem::path& path() const noexcept { return path_; }
    /// What an earlier process had written.
    const std::vector<byte_range>& done() const noexcept { return done_; }

    void blocking_save(const std::vector<byte_range>& done) const;
    /// Gives the content its name. `sync`: it reaches the disk first.
    void blocking_publish(bool sync);
    void blocking_remove() const;

private:
    partial_file(const repo_layout& layout, std::string blob, std::uint64_t size);
    bool blocking_adopt(const std::string& nonce);
    void blocking_copy(int from, const std::vector<byte_range>& ranges) const;
    void blocking_create();

    repo_layout layout_;
    std::string blob_;
    std::uint64_t size_;
    std::string nonce_;
    std::filesystem::path path_;
    std::shared_ptr<file_handle> file_;
    std::vector<byte_range> done_;
    writer_id self_;
};

}  // namespace modelpool::fetching
