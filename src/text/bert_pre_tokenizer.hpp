#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "text/pre_tokenizer.hpp"

namespace modelpool::text {

/// BertPreTokenizer: cuts at white space, which goes, and around each punctuation character, which
/// stays.
class bert_pre_tokenizer final : public pre_tokenizer {
public:
    bert_pre_tokenizer();
    void apply(workspace& work) const override;

private:
    enum class kind : std::uint8_t { word, space, mark };
    static constexpr char32_t n_table = 0x10000;

    static kind find_kind(char32_t code_point);
    void cut(const piece& whole, workspace& work) const;

    std::vector<kind> kinds_;  // of the basic plane
};

}  // namespace modelpool::text
