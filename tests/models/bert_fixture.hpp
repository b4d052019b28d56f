#pragma once

#include <filesystem>
#include <string_view>

#include "models/embedding_fixture.hpp"

namespace modelpool::testing {

inline std::filesystem::path bert_dir(std::string_view name)
{
    return checkpoint_dir("bert", name);
}

/// What sentence-transformers computes on a checkpoint: see tests/data/make_bert_cases.py.
struct bert_case : embedding_case {
    explicit bert_case(std::string_view name)
        : embedding_case{bert_dir(name)}
    {}
};

class spoiled_checkpoint : public spoiled_copy {
public:
    explicit spoiled_checkpoint(std::string_view name)
        : spoiled_copy{bert_dir(name)}
    {}
};

}  // namespace modelpool::testing
