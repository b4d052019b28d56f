#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text {

/// The character map of a SentencePiece model: what becomes of the beginning of a text.
class char_map {
public:
    struct entry {
        std::size_t n_bytes;    ///< of the text that is replaced
        std::string_view with;  ///< valid as long as the map
    };

    /// `charsmap`: the number of bytes of a double array (darts-clone), the array, and the texts
    /// that its values point to, each ended by NUL. Errors: std::invalid_argument.
    explicit char_map(std::string_view charsmap);

    /// What the shortest entry that `text` starts with becomes.
    std::optional<std::string_view> find_shortest(std::string_view text) const;
    /// The longest entry that `text` starts with.
    std::optional<entry> find_longest(std::string_view text) const;

private:
    template <typename Take>
    void walk(std::string_view text, const Take& take) const;
    std::optional<std::string_view> text_at(std::size_t begin) const;

    std::vector<std::uint32_t> units_;
    std::string texts_;
};

}  // namespace modelpool::text
