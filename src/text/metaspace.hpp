#pragma once

#include <string>

#include "text/pre_tokenizers.hpp"

namespace modelpool::text {

/// Metaspace: writes spaces as a mark, puts one in front where asked, and cuts before each mark.
class metaspace final : public pre_tokenizer {
public:
    enum class prepend { never, first, always };
    enum class cutting { none, before_marks };

    metaspace(std::string mark, prepend when, cutting how);
    void apply(workspace& work) const override;
    bool needs_sources() const override { return when_ == prepend::first; }

private:
    std::string mark_;
    prepend when_;
    cutting how_;
    pattern_splitter marks_;
};

}  // namespace modelpool::text
