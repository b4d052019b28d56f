#pragma once

// What embedding texts costs on this machine, with a checkpoint from a folder.

#include <modelpool/device.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace modelpool::bench {

/// Texts of common words, each one token in most vocabularies; the same in every run, and the same
/// that bench/peers/workloads.py makes.
enum class workload {
    one_short = 1,  ///< a text of 8 tokens
    short_texts,    ///< 1,024 of 3 to 65 tokens
    mixed,          ///< 512 of 3 to 256, lognormal, about 54 on average
    long_texts      ///< 128 of 256
};

std::vector<std::string> texts_of(workload which);

/// How fast one request was.
struct embed_time {
    std::chrono::nanoseconds wall{0};
    std::size_t n_tokens{0};

    double tokens_per_second() const
    {
        return static_cast<double>(n_tokens) / std::chrono::duration<double>(wall).count();
    }
};

/// Requests that were made one after another, or by several callers at once.
struct latencies {
    std::chrono::nanoseconds wall{0};
    std::vector<std::chrono::nanoseconds> each;  ///< sorted

    std::chrono::nanoseconds quantile(double q) const;
    double per_second() const
    {
        return static_cast<double>(each.size()) / std::chrono::duration<double>(wall).count();
    }
};

/// How a stand's model runs.
struct embed_setup {
    std::filesystem::path folder;
    dtype precision{dtype::automatic};
    int n_threads{0};          ///< 0: as many as there are cores
    std::size_t n_workers{1};  ///< 0: the library's default
};

/// A pool with one model, loaded. Tokenising is part of every figure.
class embed_stand {
public:
    /// Errors: those of models::blocking_card and of the load.
    explicit embed_stand(const embed_setup& setup);
    ~embed_stand();
    embed_stand(const embed_stand&) = delete;
    embed_stand& operator=(const embed_stand&) = delete;
    embed_stand(embed_stand&&) = delete;
    embed_stand& operator=(embed_stand&&) = delete;

    /// From the making of the pool to the first row.
    std::chrono::nanoseconds first_row() const noexcept;
    /// All texts in one request.
    embed_time blocking_embed(const std::vector<std::string>& texts);
    std::vector<std::vector<float>> blocking_rows(const std::vector<std::string>& texts);
    /// The same text again and again.
    latencies blocking_one_by_one(const std::string& text, std::size_t n);
    /// So many callers for so long, each of which sends one text after another.
    latencies blocking_callers(
        const std::vector<std::string>& texts,
        std::size_t n_callers,
        std::chrono::nanoseconds duration);
    /// The latencies of a caller with single texts while another one's request of `n_texts` runs,
    /// which took `wall`.
    latencies blocking_beside(const std::string& text, std::size_t n_texts);

private:
    struct state;
    std::unique_ptr<state> state_;
};

/// The least cosine of two lists of rows, row by row.
double
least_cosine(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b);

}  // namespace modelpool::bench
