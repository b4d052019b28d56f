#pragma once

#include <modelpool/hub/snapshot.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace modelpool::fetching {

/// The patterns of a selection, with the meaning they have in Python's client.
class patterns {
public:
    /// Errors: errc::invalid_argument for an empty pattern and for an open bracket.
    explicit patterns(const file_selection& selection);

    bool matches(const std::string& path) const;
    /// The included names, where none of them is a pattern; empty otherwise.
    const std::vector<std::string>& plain_names() const noexcept { return plain_names_; }

private:
    std::vector<std::string> include_;
    std::vector<std::string> exclude_;
    std::vector<std::string> plain_names_;
};

}  // namespace modelpool::fetching
