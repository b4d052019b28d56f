#pragma once

#include <modelpool/hub/fetch_options.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// A file of a cached commit. A value.
struct cached_file {
    std::string path;  ///< inside the repository
    std::string blob;  ///< the name of its content: a sha256, a git sha1 or a mirror's tag
    std::uint64_t bytes{0};
    bool broken{false};  ///< its link leads nowhere
};

/// A commit in the cache. A value.
struct cached_commit {
    std::string commit;
    std::filesystem::path dir;
    std::vector<std::string> refs;  ///< branches and tags that name it
    std::vector<cached_file> files;
};

/// A repository in the cache. A value.
struct cached_repository {
    std::string id;
    repository_kind kind{repository_kind::model};
    std::filesystem::path dir;
    std::uint64_t bytes{0};          ///< of all contents, each counted once
    std::uint64_t partial_bytes{0};  ///< of unfinished downloads
    /// When a content was last read or written, as far as the file system notes it.
    std::chrono::system_clock::time_point last_used{};
    std::vector<cached_commit> commits;
};

/// What a check of a cached file found. A value.
struct cache_fault {
    std::string id;
    std::string commit;
    std::string path;
    std::string expected;  ///< hash or length
    std::string found;
};

/// What to take out of the cache.
class prune_options {
public:
    /// Commits that no branch or tag names.
    prune_options& detached_commits(bool value)
    {
        detached_commits_ = value;
        return *this;
    }
    bool detached_commits() const noexcept { return detached_commits_; }

    /// Unfinished downloads that nobody has worked on for this long, by processes that are gone.
    prune_options& partials_older_than(std::chrono::seconds value)
    {
        partials_older_than_ = value;
        return *this;
    }
    std::chrono::seconds partials_older_than() const noexcept { return partials_older_than_; }

    /// Whole repositories, by id.
    prune_options& repository(std::string id)
    {
        repositories_.push_back(std::move(id));
        return *this;
    }
    const std::vector<std::string>& repositories() const noexcept { return repositories_; }

    /// Whole repositories, all but those that are to be kept: an id, or a pattern such as "org/*".
    prune_options& keep(std::string id)
    {
        kept_.push_back(std::move(id));
        return *this;
    }
    const std::vector<std::string>& kept() const noexcept { return kept_; }

    /// Whole repositories that were not used for this long, and are not to be kept.
    prune_options& unused_for(std::chrono::seconds value)
    {
        unused_for_ = value;
        return *this;
    }
    const std::optional<std::chrono::seconds>& unused_for() const noexcept { return unused_for_; }

    /// Only counts.
    prune_options& dry_run(bool value)
    {
        dry_run_ = value;
        return *this;
    }
    bool dry_run() const noexcept { return dry_run_; }

private:
    bool detached_commits_{true};
    bool dry_run_{false};
    std::chrono::seconds partials_older_than_{std::chrono::hours{24 * 14}};
    std::vector<std::string> repositories_;
    std::vector<std::string> kept_;
    std::optional<std::chrono::seconds> unused_for_;
};

/// What was taken out of the cache. A value.
struct pruned {
    std::uint64_t bytes{0};
    std::uint64_t n_blobs{0};
    std::uint64_t n_commits{0};
    std::uint64_t n_partials{0};
    std::uint64_t n_repositories{0};
};

}  // namespace modelpool
