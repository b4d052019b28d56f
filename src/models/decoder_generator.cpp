#include "models/decoder_generator.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <utility>
#include <variant>

#include "models/image_prompt.hpp"
#include "models/image_rows.hpp"

namespace modelpool::models {
namespace {

// Marks that split an answer, which some checkpoints call special: their text is told all the same,
// for the parser of the answer to see.
constexpr std::array<std::string_view, 9> answer_marks{
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>"};

std::optional<image_rows> make_images(const image_input& input)
{
    if (!input.encoder) return std::nullopt;
    return std::optional<image_rows>{std::in_place, input.encoder->replicate(), n_kept_images};
}

class decoder_generator final : public generator {
public:
    explicit decoder_generator(std::shared_ptr<const decoder_parts> parts)
        : parts_{std::move(parts)}
        , state_{parts_->model.make_state()}
        , images_{make_images(parts_->images)}
    {
        const decoder::hyperparameters& sizes = parts_->model.config().sizes;
        info_.context_length = static_cast<std::size_t>(sizes.context_length);
        info_.vocab_size = static_cast<std::size_t>(sizes.vocab_size);
        info_.end_tokens = parts_->end_tokens;
        info_.has_chat_template = parts_->layout.has_value();
        info_.takes_images = images_.has_value();
        for (const std::string_view mark : answer_marks)
            if (const std::optional<text::token_id> id = parts_->tokenizer.id_of(mark))
                marks_.emplace_back(*id, mark);
    }

    const generator_info& info() const noexcept override { return info_; }

    prepared_prompt prepare(const generation_request& request) const override
    {
        prepared_prompt made;
        if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&request.input)) {
            made.tokens = *ids;
        } else if (const auto* prompt = std::get_if<std::string>(&request.input)) {
            made.tokens = parts_->tokenizer.encode(*prompt).ids;
        } else if (const auto& conversation = std::get<chat>(request.input); images_) {
            return prepare_with_images(
                encode_with_marks(parts_->tokenizer, render(conversation), parts_->images.mark),
                images_of(conversation),
                parts_->images,
                info_.context_length,
                parts_->image_key);
        } else {
            made.tokens = encode_plain(render(conversation));
        }
        return made;
    }

    std::size_t kv_bytes(std::size_t n_tokens, kv_dtype dtype) const noexcept override
    {
        return state_->cache.bytes_of(n_tokens, dtype);
    }
    void allocate_kv(std::size_t n_blocks, std::size_t block_tokens, kv_dtype dtype) override
    {
        state_->cache.allocate(n_blocks, block_tokens, dtype);
    }
    void set_prefill(prefill_mode mode) override { state_->prefill = mode; }
    void copy_kv_block(std::uint32_t from, std::uint32_t to) override
    {
        state_->cache.copy_block(from, to);
    }

    void
    step(std::span<const step_row> rows, std::span<float> logits, run_context& context) override
    {
        std::span<const float* const> embeddings;
        if (images_) embeddings = images_->resolve(rows, context);
        if (context.stop_requested()) return;
        parts_->model.step(rows, embeddings, logits, *state_, context);
    }

    std::string piece(std::span<const std::int32_t> ids) const override
    {
        std::string bytes;
        for (const std::int32_t id : ids) {
            const auto mark =
                std::ranges::find(marks_, id, &std::pair<std::int32_t, std::string_view>::first);
            if (mark != marks_.end())
                bytes += mark->second;
            else if (id < 0 || static_cast<std::size_t>(id) >= info_.vocab_size)
                throw error{
                    text_errc::bad_id,
                    "token id " + std::to_string(id) + " lies outside the vocabulary of " +
                        std::to_string(info_.vocab_size)};
            // Models have rows beyond the last token, to fill up a multiple.
            else if (static_cast<std::size_t>(id) < parts_->tokenizer.vocab_size())
                bytes += parts_->tokenizer.piece(id);
        }
        return bytes;
    }

    std::vector<std::int32_t> tokenize(std::string_view text) const override
    {
        return encode_plain(text);
    }

    std::unique_ptr<answer_parser> parse_answer(const generation_request& request) const override
    {
        const auto* conversation = std::get_if<chat>(&request.input);
        if (conversation == nullptr || !parts_->layout) return nullptr;
        text::answer_format format = format_of(*conversation);
        if (!conversation->tools().empty()) format.tools(conversation->tools());
        // What looks like a call inside of JSON is text.
        if (!request.params.json_schema.empty()) format.calls(text::call_style::none);
        return std::make_unique<text::answer_splitter>(std::move(format));
    }

    std::unique_ptr<token_constraint> constrain(const generation_request& request) override
    {
        text::constraint_start start = text::constraint_start::at_once;
        const auto* conversation = std::get_if<chat>(&request.input);
        if (conversation != nullptr && parts_->layout) {
            const text::answer_format format = format_of(*conversation);
            if (format.begins_in_thoughts())
                start = text::constraint_start::after_thoughts;
            else if (format.thinks())
                start = text::constraint_start::thoughts_if_begun;
        }
        return std::make_unique<text::json_constraint>(masks_of(request.params.json_schema), start);
    }

    footprint bytes() const override
    {
        footprint all;
        all.shared_bytes = parts_->model.own_bytes();
        all.mapped_bytes = parts_->model.mapped_bytes();
        all.replica_bytes = state_->n_bytes();
        if (images_) {
            const footprint more = images_->encoder().bytes();
            all.shared_bytes += more.shared_bytes;
            all.mapped_bytes += more.mapped_bytes;
            all.replica_bytes += more.replica_bytes + images_->most_bytes();
        }
        return all;
    }

    void warm_up(run_context& context) override
    {
        constexpr std::size_t block_tokens = 16;
        const std::array<std::uint32_t, 1> blocks{0};
        allocate_kv(1, block_tokens, kv_dtype::f32);
        step_row row;
        row.wants_logits = true;
        row.blocks = blocks;
        std::vector<float> logits(info_.vocab_size);
        step({&row, 1}, logits, context);
        allocate_kv(0, block_tokens, kv_dtype::f32);
        if (!images_) return;
        image_encoder& encoder = images_->encoder();
        image black{1, 1, std::vector<std::uint8_t>(3)};
        const std::vector<float> pixels = encoder.prepare(std::move(black));
        std::vector<float> room(encoder.n_positions() * encoder.width());
        encoder.encode(pixels, room, context);
    }

    std::unique_ptr<generator> replicate() const override
    {
        return std::make_unique<decoder_generator>(parts_);
    }

private:
    std::string render(const chat& conversation) const
    {
        if (!parts_->layout)
            throw error{
                errc::unsupported,
                parts_->name +
                    ": the model comes without a chat template: complete a prompt instead"};
        if (images_) return render_with_images(*parts_->layout, conversation, parts_->images.mark);
        if (!images_of(conversation).empty())
            throw error{errc::unsupported, parts_->name + ": the model takes no images"};
        return parts_->layout->render(conversation);
    }

    text::answer_format format_of(const chat& conversation) const
    {
        text::answer_format format = text::answer_format::of_template(parts_->layout->source());
        format.after(render(conversation));
        return format;
    }

    // Compiled once for requests of the same schema, as long as it is among the latest.
    std::shared_ptr<text::json_token_masks> masks_of(const std::string& schema)
    {
        if (info_.end_tokens.empty())
            throw error{
                errc::unsupported,
                parts_->name + ": the model has no token that ends a text, so its answers cannot "
                               "be held to a JSON schema"};
        auto known = std::ranges::find(
            schemas_,
            schema,
            &std::pair<std::string, std::shared_ptr<text::json_token_masks>>::first);
        if (known == schemas_.end()) {
            const text::json_grammar grammar = text::json_grammar::from_schema(schema);
            const auto tokens = parts_->tokens.get([this] {
                return std::make_shared<const text::token_table>(
                    info_.vocab_size,
                    [this](std::int32_t id) {
                        return piece({&id, 1});
                    },
                    info_.end_tokens);
            });
            if (schemas_.size() == max_schemas) schemas_.pop_back();
            schemas_.emplace_back(
                schema, std::make_shared<text::json_token_masks>(grammar, tokens));
            known = schemas_.end() - 1;
        }
        std::rotate(schemas_.begin(), known, known + 1);
        return schemas_.front().second;
    }

    // Templates write special tokens themselves.
    std::vector<std::int32_t> encode_plain(std::string_view text) const
    {
        return parts_->tokenizer.encode(text, text::encode_options{}.add_special_tokens(false)).ids;
    }

    std::shared_ptr<const decoder_parts> parts_;
    std::unique_ptr<decoder::decoder_state> state_;
    std::optional<image_rows> images_;
    generator_info info_;
    std::vector<std::pair<std::int32_t, std::string_view>> marks_;
    static constexpr std::size_t max_schemas = 4;
    // The latest first.
    std::vector<std::pair<std::string, std::shared_ptr<text::json_token_masks>>> schemas_;
};

}  // namespace

void check_vocabulary(
    const std::string& name, const text::tokenizer& tokenizer, std::int64_t n_rows)
{
    const auto rows = static_cast<std::size_t>(n_rows);
    if (tokenizer.vocab_size() > rows)
        throw error{
            model_errc::bad_file,
            name + ": the tokenizer has " + std::to_string(tokenizer.vocab_size()) +
                " tokens, but the model has " + std::to_string(rows)};
}

std::pair<std::uint64_t, std::uint64_t> decoder_parts::random_key()
{
    std::random_device device;
    const auto number = [&device] {
        const std::uint64_t high = device();
        return (high << 32U) | device();
    };
    return {number(), number()};
}

std::unique_ptr<generator> make_decoder_generator(std::shared_ptr<const decoder_parts> parts)
{
    return std::make_unique<decoder_generator>(std::move(parts));
}

}  // namespace modelpool::models
