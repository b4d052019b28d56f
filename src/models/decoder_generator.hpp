#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/text/answer.hpp>
#include <modelpool/text/chat_template.hpp>
#include <modelpool/text/json_constraint.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "decoder/model.hpp"
#include "models/image_encoder.hpp"

namespace modelpool::models {

/// The tokens of a model as constraints need them: made by the first replica that asks, for all.
class shared_tokens {
public:
    template <class Make>
    std::shared_ptr<const text::token_table> get(Make make) const
    {
        const std::lock_guard lock{mutex_};
        if (!made_) made_ = make();
        return made_;
    }

private:
    mutable std::mutex mutex_;
    mutable std::shared_ptr<const text::token_table> made_;
};

/// A decoder with all that makes a generator of it. Immutable and shared by replicas.
struct decoder_parts {
    decoder_parts(
        std::string called,
        decoder::decoder_config config,
        std::unique_ptr<const decoder::weight_source> source,
        decoder::weight_layout how,
        const decoder::load_watch& watch,
        text::tokenizer words,
        std::optional<text::chat_template> chat_layout,
        std::vector<std::int32_t> ends,
        image_input pictures = {})
        : name{std::move(called)}
        , model{std::move(config), std::move(source), how, watch}
        , tokenizer{std::move(words)}
        , layout{std::move(chat_layout)}
        , end_tokens{std::move(ends)}
        , images{std::move(pictures)}
    {}

    std::string name;  ///< for messages
    decoder::decoder_model model;
    text::tokenizer tokenizer;
    std::optional<text::chat_template> layout;
    std::vector<std::int32_t> end_tokens;
    shared_tokens tokens;
    image_input images;  ///< without an encoder: the model takes no images
    /// Of the hashes of images: nobody outside knows it.
    std::pair<std::uint64_t, std::uint64_t> image_key{random_key()};

private:
    static std::pair<std::uint64_t, std::uint64_t> random_key();
};

/// Throws model_errc::bad_file where the tokenizer has more tokens than the model has rows.
void check_vocabulary(
    const std::string& name, const text::tokenizer& tokenizer, std::int64_t n_rows);

std::unique_ptr<generator> make_decoder_generator(std::shared_ptr<const decoder_parts> parts);

}  // namespace modelpool::models
