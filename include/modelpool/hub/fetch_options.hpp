#pragma once

#include <modelpool/hub/snapshot.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// The kinds of repositories a hub has.
enum class repository_kind { model = 1, dataset, space };

/// How files are fetched.
class fetch_options {
public:
    fetch_options& kind(repository_kind value)
    {
        kind_ = value;
        return *this;
    }
    repository_kind kind() const noexcept { return kind_; }

    /// Downloads again what is in the cache.
    fetch_options& force(bool value)
    {
        force_ = value;
        return *this;
    }
    bool force() const noexcept { return force_; }

    /// Finds out what would be downloaded, and downloads nothing.
    fetch_options& dry_run(bool value)
    {
        dry_run_ = value;
        return *this;
    }
    bool dry_run() const noexcept { return dry_run_; }

    /// Names the sha256 of every file; small files are read for it.
    fetch_options& hashes(bool value)
    {
        hashes_ = value;
        return *this;
    }
    bool hashes() const noexcept { return hashes_; }

    /// Fetches the shards too that a selected "*.index.json" names.
    fetch_options& follow_indexes(bool value)
    {
        follow_indexes_ = value;
        return *this;
    }
    bool follow_indexes() const noexcept { return follow_indexes_; }

    /// Whether named files that do not exist are left out, where others do; otherwise they are an
    /// error. Patterns never demand anything but one file.
    fetch_options& skip_missing(bool value)
    {
        skip_missing_ = value;
        return *this;
    }
    bool skip_missing() const noexcept { return skip_missing_; }

    /// A folder that gets the files under their own paths, besides the cache; empty: none.
    fetch_options& local_dir(std::filesystem::path value)
    {
        local_dir_ = std::move(value);
        return *this;
    }
    const std::filesystem::path& local_dir() const noexcept { return local_dir_; }

private:
    repository_kind kind_{repository_kind::model};
    bool force_{false};
    bool dry_run_{false};
    bool hashes_{false};
    bool follow_indexes_{false};
    bool skip_missing_{false};
    std::filesystem::path local_dir_;
};

/// One file of a fetch. A value.
struct fetched_file {
    std::string path;        ///< inside the repository
    std::uint64_t bytes{0};  ///< its length
    std::string sha256;      ///< of its content; empty where it was not asked for and is not known
    bool cached{false};      ///< it was in the cache; in a dry run: it need not be downloaded
    bool verified{false};    ///< its content was compared with the hub's hash in this fetch
};

/// What a fetch found. A value.
class fetched {
public:
    fetched() = default;
    fetched(modelpool::snapshot all, std::vector<fetched_file> files)
        : snapshot_{std::move(all)}
        , files_{std::move(files)}
    {}

    const modelpool::snapshot& snapshot() const noexcept { return snapshot_; }
    /// Sorted by path.
    const std::vector<fetched_file>& files() const noexcept { return files_; }

    /// Why the hub could not be asked, where the cache answered in its place; empty: it was asked,
    /// or needed not be.
    const std::string& stale() const noexcept { return stale_; }
    fetched& stale(std::string why)
    {
        stale_ = std::move(why);
        return *this;
    }
    /// Whether all files of the commit were known: false where the cache answered without a
    /// listing.
    bool listed() const noexcept { return listed_; }
    fetched& listed(bool value)
    {
        listed_ = value;
        return *this;
    }

private:
    modelpool::snapshot snapshot_;
    std::vector<fetched_file> files_;
    std::string stale_;
    bool listed_{true};
};

}  // namespace modelpool
