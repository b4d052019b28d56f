#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace modelpool::fetching {

/// A stretch of bytes, [begin, end).
struct byte_range {
    std::uint64_t begin{0};
    std::uint64_t end{0};
    friend bool operator==(const byte_range&, const byte_range&) = default;
};

/// Which bytes of a file are on disk, which are on their way, and what to ask for next. The front
/// goes first, so that hashing can follow. Not thread-safe.
class range_plan {
public:
    using piece_id = std::uint64_t;
    struct piece {
        piece_id id{0};
        std::uint64_t next{0};  ///< where the next byte goes
        std::uint64_t end{0};
        bool done() const noexcept { return next >= end; }
    };
    struct limits {
        std::uint64_t smallest_piece{std::uint64_t{8} << 20U};
        std::uint64_t largest_piece{std::uint64_t{64} << 20U};
        std::uint64_t single_stream_below{std::uint64_t{16} << 20U};
        std::uint64_t smallest_theft{std::uint64_t{2} << 20U};
    };

    /// `done` need be neither sorted nor disjoint; what lies outside the file is cut off.
    range_plan(std::uint64_t size, const std::vector<byte_range>& done, const limits& most);
    range_plan(std::uint64_t size, const std::vector<byte_range>& done)
        : range_plan{size, done, limits{}}
    {}

    /// The next piece to ask for: the first hole's front, or half of the largest piece under way.
    /// Empty where nothing is worth it.
    std::optional<piece> start();
    /// The whole rest from the first hole as one piece, for origins that know no ranges.
    /// Precondition: nothing is under way.
    std::optional<piece> start_rest();
    /// How many of `n_bytes` that came for a piece may be written now: those that are its own, and
    /// no more at once than stay its own when another piece takes over half of the rest.
    std::uint64_t accept(piece_id id, std::uint64_t n_bytes) const;
    /// Bytes of a piece are on disk.
    void wrote(piece_id id, std::uint64_t n_bytes);
    /// A piece is no longer under way; what it lacks is a hole again.
    void stop(piece_id id);
    const piece* find(piece_id id) const;

    /// Forgets everything that was done. Precondition: nothing is under way.
    void restart();

    std::uint64_t size() const noexcept { return size_; }
    std::uint64_t done_bytes() const noexcept { return done_bytes_; }
    /// Bytes from the file's beginning without a hole.
    std::uint64_t prefix_bytes() const;
    bool complete() const noexcept { return done_bytes_ == size_; }
    std::size_t n_running() const noexcept { return running_.size(); }
    std::vector<byte_range> done() const;

private:
    std::uint64_t piece_bytes() const;
    void add_done(std::uint64_t begin, std::uint64_t end);
    std::optional<piece> begin_piece(std::uint64_t begin, std::uint64_t end);
    std::optional<byte_range> first_hole() const;

    std::uint64_t size_;
    limits limits_;
    std::map<std::uint64_t, std::uint64_t> done_;  // begin -> end, disjoint, apart
    std::map<piece_id, piece> running_;
    std::uint64_t done_bytes_{0};
    piece_id next_id_{1};
};

/// How many connections a file should have: twice as many as long as each brings as much as before,
/// one more while that pays at all, as many as before where it did not, one less after trouble.
class stream_control {
public:
    explicit stream_control(std::size_t n_most)
        : n_most_{n_most}
        , n_wanted_{n_most < 2 ? n_most : 2}
        , n_before_{n_wanted_}
    {}

    std::size_t n_wanted() const noexcept { return n_wanted_; }
    /// A second is over, in which `n_bytes` came over `n_running` connections.
    void second(std::uint64_t n_bytes, std::size_t n_running);
    /// A connection stalled, or the server asked for fewer requests.
    void trouble();
    /// The server refuses: at once one less.
    void overloaded();

private:
    std::size_t n_most_;
    std::size_t n_wanted_;
    std::size_t n_before_;           // that were known to pay
    std::uint64_t best_bytes_{0};    // in a second,
    std::uint64_t best_running_{0};  // over so many connections
    int n_troubles_{0};
    bool settled_{false};
};

}  // namespace modelpool::fetching
