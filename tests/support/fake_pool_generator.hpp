#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/capability/text_to_text.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/load_context.hpp>
#include <modelpool/text/answer_parser.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "fakes.hpp"
#include "turnstile.hpp"

namespace modelpool::testing {

/// How the fake generators of one model behave, and what happened to them. Shared by the test and
/// all of them; set up before the first load, but for what is thread-safe itself.
struct fake_text_plan {
    std::size_t context_length{4096};
    std::size_t kv_token_bytes{1};
    footprint bytes;
    bool takes_images{false};
    bool parses{false};  // answers to conversations have marks, see fake_parser
    std::atomic<bool> shares{true};
    std::atomic<bool> obeys_stop{true};  // at the turnstile
    std::function<void()> on_prepare;
    std::function<void()> on_allocate;  // before the KV cache is made

    door build_door;      // before a model is built
    turnstile step_gate;  // before a step is computed

    std::atomic<int> n_builds{0};
    std::atomic<int> n_loader_calls{0};
    std::atomic<int> n_replicas{0};
    std::atomic<int> n_alive{0};
    std::atomic<int> n_steps{0};
    std::atomic<int> n_rows{0};
    std::atomic<int> n_most_sequences{0};  // of a step
    std::atomic<int> n_faults{0};          // of the KV cache
    thread_journal built;
    thread_journal prepared;
    thread_journal stepped;
    thread_journal destroyed;
};

constexpr std::int32_t fake_answer_token = 256;  ///< the prompt ends here
constexpr std::int32_t fake_end_token = 257;
constexpr std::int32_t fake_image_token = 258;
constexpr std::size_t fake_vocab_size = 260;
constexpr std::size_t fake_image_positions = 3;

/// What follows `word` in `text`; empty where it is not there.
inline std::optional<std::string> after_word(const std::string& text, const std::string& word)
{
    const std::size_t place = text.find(word);
    if (place == std::string::npos) return std::nullopt;
    return text.substr(place + word.size());
}

inline std::size_t number_after(const std::string& text, const std::string& word)
{
    const std::optional<std::string> rest = after_word(text, word);
    return rest ? static_cast<std::size_t>(std::strtoul(rest->c_str(), nullptr, 10)) : 0;
}

/// What the fake answers to a prompt: "count 3" with "1 2 3 ", "say x" with "x", and all else with
/// itself.
inline std::string fake_answer(const std::string& prompt)
{
    if (const std::size_t n = number_after(prompt, "count "); n > 0) {
        std::string text;
        for (std::size_t i = 1; i <= n; ++i)
            text += std::to_string(i) + " ";
        return text;
    }
    if (const std::optional<std::string> words = after_word(prompt, "say ")) return *words;
    return "you said: " + prompt;
}

/// Reads <think>reasoning</think>, <call>name arguments</call> and text beside them.
class fake_parser final : public answer_parser {
public:
    void push(std::string_view text, std::vector<answer_piece>& out) override
    {
        held_ += text;
        while (!held_.empty()) {
            const std::size_t mark = held_.find('<');
            if (mark != 0) {
                give(held_.substr(0, mark), out);
                held_.erase(0, mark);
                continue;
            }
            const std::size_t end = held_.find('>');
            if (end == std::string::npos) return;
            take_mark(held_.substr(0, end + 1));
            held_.erase(0, end + 1);
        }
    }

    void finish(std::vector<answer_piece>& out) override { give(std::exchange(held_, {}), out); }
    bool calls_tools() const noexcept override { return n_calls_ > 0; }

private:
    void take_mark(const std::string& mark)
    {
        if (mark == "</broken>") throw error{model_errc::failed, "the answer cannot be read"};
        part_ = mark == "<think>"  ? answer_part::reasoning
                : mark == "<call>" ? answer_part::tool_call
                                   : answer_part::text;
        named_ = false;
        name_.clear();
        n_calls_ += part_ == answer_part::tool_call ? 1 : 0;
    }

    void give(std::string text, std::vector<answer_piece>& out)
    {
        answer_piece piece;
        piece.part = part_;
        if (part_ == answer_part::tool_call) {
            piece.call.index = n_calls_ - 1;
            if (!named_) {
                name_ += text;
                const std::size_t space = name_.find(' ');
                if (space == std::string::npos) return;
                named_ = true;
                piece.call.name = name_.substr(0, space);
                text = name_.substr(space + 1);
            }
            piece.call.arguments = text;
        } else {
            piece.text = text;
        }
        if (!text.empty() || !piece.call.name.empty()) out.push_back(std::move(piece));
    }

    std::string held_;
    std::string name_;
    bool named_{false};
    answer_part part_{answer_part::text};
    std::size_t n_calls_{0};
};

/// A generator that answers `fake_answer`, one token a byte, as far as the KV cache holds what it
/// should: it reads each prompt back through its blocks. A prompt may ask for trouble: "bad prompt"
/// cannot be prepared; "fail after 3" fails the step that computes the fourth token, "no memory
/// after 3" cannot allocate in it, and "no number after 3" gives logits that are none. There is no
/// memory for the text of the byte 1.
class fake_pool_generator final : public generator, public counted {
public:
    explicit fake_pool_generator(std::shared_ptr<fake_text_plan> plan)
        : plan_{std::move(plan)}
    {
        info_.context_length = plan_->context_length;
        info_.vocab_size = fake_vocab_size;
        info_.end_tokens = {fake_end_token};
        info_.takes_images = plan_->takes_images;
        info_.has_chat_template = true;
        ++plan_->n_alive;
        plan_->built.note();
    }
    ~fake_pool_generator() override
    {
        plan_->destroyed.note();
        --plan_->n_alive;
    }

    const generator_info& info() const noexcept override { return info_; }
    footprint bytes() const override { return plan_->bytes; }

    prepared_prompt prepare(const generation_request& request) const override
    {
        plan_->prepared.note();
        if (plan_->on_prepare) plan_->on_prepare();
        prepared_prompt prompt;
        if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&request.input)) {
            prompt.tokens = *ids;
            return prompt;
        }
        if (const auto* text = std::get_if<std::string>(&request.input))
            add_text(*text, prompt);
        else
            for (const message& one : std::get<chat>(request.input).messages())
                add_message(one, prompt);
        prompt.tokens.push_back(fake_answer_token);
        return prompt;
    }

    std::size_t kv_bytes(std::size_t n_tokens, kv_dtype) const noexcept override
    {
        return n_tokens * plan_->kv_token_bytes;
    }

    void allocate_kv(std::size_t n_blocks, std::size_t block_tokens, kv_dtype) override
    {
        if (plan_->on_allocate) plan_->on_allocate();
        block_tokens_ = block_tokens;
        cache_.assign(n_blocks * block_tokens, slot{});
    }

    void copy_kv_block(std::uint32_t from, std::uint32_t to) override
    {
        for (std::size_t i = 0; i < block_tokens_; ++i)
            cache_.at(to * block_tokens_ + i) = cache_.at(from * block_tokens_ + i);
    }

    void
    step(std::span<const step_row> rows, std::span<float> logits, run_context& context) override
    {
        plan_->stepped.note();
        plan_->step_gate.blocking_pass(plan_->obeys_stop ? context.stop() : stop_flag{});
        ++plan_->n_steps;
        plan_->n_rows += static_cast<int>(rows.size());
        int n_sequences = 0;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            n_sequences += i == 0 || rows[i].sequence != rows[i - 1].sequence ? 1 : 0;
            place_of(rows[i], rows[i].position) = content(rows[i]);
        }
        if (n_sequences > plan_->n_most_sequences) plan_->n_most_sequences = n_sequences;
        std::size_t n = 0;
        for (const step_row& row : rows)
            if (row.wants_logits)
                answer(row, logits.subspan(fake_vocab_size * n++, fake_vocab_size));
        context.step_done();
    }

    std::string piece(std::span<const std::int32_t> ids) const override
    {
        std::string text;
        for (const std::int32_t id : ids) {
            if (id == 1) throw std::bad_alloc{};
            if (id < 256) text.push_back(static_cast<char>(id));
        }
        return text;
    }

    std::vector<std::int32_t> tokenize(std::string_view text) const override
    {
        if (text == "bad text") throw error{text_errc::not_utf8, "byte 3 is no UTF-8"};
        std::vector<std::int32_t> ids;
        for (const char c : text)
            ids.push_back(static_cast<unsigned char>(c));
        return ids;
    }

    std::unique_ptr<answer_parser> parse_answer(const generation_request& request) const override
    {
        if (!plan_->parses || !std::holds_alternative<chat>(request.input)) return nullptr;
        return std::make_unique<fake_parser>();
    }

    std::unique_ptr<generator> replicate() const override
    {
        if (!plan_->shares) return nullptr;
        ++plan_->n_replicas;
        return std::make_unique<fake_pool_generator>(plan_);
    }

private:
    struct slot {
        std::int32_t token{-1};
        std::uint32_t position{0};
        std::uint64_t image_id{0};
    };

    static void add_text(const std::string& text, prepared_prompt& prompt)
    {
        if (text.find("bad prompt") != std::string::npos)
            throw error{text_errc::not_utf8, "byte 3 is no UTF-8"};
        for (const char c : text)
            prompt.tokens.push_back(static_cast<unsigned char>(c));
    }

    void add_message(const message& one, prepared_prompt& prompt) const
    {
        add_text(one.role + ": ", prompt);
        for (const content_part& part : one.content) {
            if (const auto* text = std::get_if<std::string>(&part))
                add_text(*text, prompt);
            else
                add_image(std::get<image_source>(part), prompt);
        }
    }

    /// An image's number is its first byte, or its width.
    void add_image(const image_source& source, prepared_prompt& prompt) const
    {
        if (!plan_->takes_images)
            throw error{errc::unsupported, "this model does not look at images"};
        image_span span;
        span.begin = prompt.tokens.size();
        span.n_positions = fake_image_positions;
        if (const auto* bytes = std::get_if<image_bytes>(&source))
            span.image_id = bytes->bytes.empty() ? 0 : std::to_integer<unsigned>(bytes->bytes[0]);
        else if (const auto* pixels = std::get_if<image>(&source))
            span.image_id = pixels->width;
        else
            throw error{model_errc::bad_file, "the fake opens no files"};
        prompt.images.push_back(span);
        prompt.tokens.insert(prompt.tokens.end(), fake_image_positions, fake_image_token);
    }

    static slot content(const step_row& row)
    {
        slot made{row.token, row.position, 0};
        if (row.prompt)
            for (const image_span& image : row.prompt->images)
                if (row.position >= image.begin && row.position < image.begin + image.n_positions)
                    made.image_id = image.image_id;
        return made;
    }

    slot& place_of(const step_row& row, std::size_t position)
    {
        const std::uint32_t block = row.blocks[position / block_tokens_];
        return cache_.at(block * block_tokens_ + position % block_tokens_);
    }

    void answer(const step_row& row, std::span<float> logits)
    {
        std::string prompt;
        std::size_t n_written = 0;
        bool answers = false;
        for (std::size_t i = 0; i <= row.position; ++i) {
            const slot& one = place_of(row, i);
            if (one.token < 0 || one.position != i) ++plan_->n_faults;
            if (answers)
                ++n_written;
            else if (one.token == fake_answer_token)
                answers = true;
            else if (one.token == fake_image_token)
                prompt += "[" + std::to_string(one.image_id) + "]";
            else
                prompt.push_back(static_cast<char>(one.token));
        }
        const std::string text = fake_answer(prompt);
        std::fill(logits.begin(), logits.end(), 0.0F);
        logits['#'] = 5.0F;  // the second choice
        const std::size_t next = n_written < text.size()
                                     ? static_cast<unsigned char>(text[n_written])
                                     : static_cast<std::size_t>(fake_end_token);
        logits[next] = 10.0F;
        const auto due = [&](const char* word) {
            return after_word(prompt, word) && number_after(prompt, word) == n_written;
        };
        if (due("fail after ")) throw error{model_errc::failed, "the step failed"};
        if (due("no memory after ")) throw std::bad_alloc{};
        if (due("no number after ")) logits[next] = std::nanf("");
    }

    std::shared_ptr<fake_text_plan> plan_;
    generator_info info_;
    std::size_t block_tokens_{1};
    std::vector<slot> cache_;
};

/// Builds a `Model` on the worker's thread, once the plan's door is open.
template <class Model, class Interface, class Plan>
awaitable<std::unique_ptr<Interface>>
load_fake_model(std::shared_ptr<Plan> plan, load_context context)
{
    ++plan->n_loader_calls;
    auto build = [plan, stop = context.stop()] {
        plan->build_door.blocking_pass(plan->obeys_stop ? stop : stop_flag{});
        ++plan->n_builds;
        return std::unique_ptr<Interface>{std::make_unique<Model>(plan)};
    };
    auto built = context.offload(std::move(build));
    co_return co_await std::move(built);
}

/// A loader of fakes that follow `plan`, for `loader<text_to_text>` and `loader<vision>`.
inline loader<text_to_text> fake_text_loader(const std::shared_ptr<fake_text_plan>& plan)
{
    return [plan](load_context context) {
        return load_fake_model<fake_pool_generator, generator>(plan, std::move(context));
    };
}

}  // namespace modelpool::testing
