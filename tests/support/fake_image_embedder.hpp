#pragma once

#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/load_context.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "fakes.hpp"

namespace modelpool::testing {

/// How the fakes of one model behave, and what happened to them. As `fake_plan`.
struct fake_picture_plan {
    std::size_t dim{4};
    std::size_t max_text_tokens{1000};
    std::optional<double> logit_scale{10.0};
    footprint bytes;
    std::atomic<bool> shares{true};

    door build_door;
    door run_door;  // before a batch of either kind is computed

    std::atomic<int> n_builds{0};
    std::atomic<int> n_replicas{0};
    std::atomic<int> n_warm_ups{0};
    std::atomic<int> n_alive{0};
    std::atomic<std::size_t> n_ahead{0};          // images prepared and not computed
    std::atomic<std::size_t> n_most_ahead{0};     // the most there were at a time
    std::atomic<std::size_t> n_largest_batch{0};  // images
    std::atomic<std::size_t> n_most_tokens{0};    // of a batch of texts
    thread_journal built;
    thread_journal prepared;
    thread_journal ran;
    thread_journal destroyed;

    /// One letter for each batch in order: `i` of images, `t` of texts.
    std::string batches() const
    {
        const std::lock_guard lock{mutex_};
        return batches_;
    }
    void note_batch(char kind)
    {
        const std::lock_guard lock{mutex_};
        batches_.push_back(kind);
    }

private:
    mutable std::mutex mutex_;
    std::string batches_;
};

/// An image that the fake takes for that name.
inline image_source image_named(std::string_view name)
{
    image_bytes made;
    for (const char c : name)
        made.bytes.push_back(static_cast<std::byte>(c));
    return made;
}

inline std::string name_of(const image_source& source)
{
    if (const auto* file = std::get_if<image_file>(&source)) return file->path.string();
    if (std::holds_alternative<image_url>(source))
        throw error{errc::unsupported, "a worker got an address"};
    std::string name;
    if (const auto* pixels = std::get_if<image>(&source))
        name.assign(pixels->rgb.begin(), pixels->rgb.end());
    else
        for (const std::byte one : std::get<image_bytes>(source).bytes)
            name.push_back(static_cast<char>(one));
    return name;
}

/// An image embedder for which an image is its name, and a text of that name has the same row:
/// `fake_row`. A name may ask for trouble: "bad image", "huge image" and "strange image" cannot be
/// prepared, nor can "bad text"; "bad row" fails its row, "bad batch" its batch, "no memory" cannot
/// allocate, "not a number" gives one that is none, "short row" too few numbers. Once asked to stop
/// it gives rows that mean nothing.
class fake_image_embedder final : public image_embedder, public counted {
public:
    explicit fake_image_embedder(std::shared_ptr<fake_picture_plan> plan)
        : plan_{std::move(plan)}
    {
        info_.dim = plan_->dim;
        info_.image_size = 2;
        info_.max_text_tokens = plan_->max_text_tokens;
        info_.logit_scale = plan_->logit_scale;
        ++plan_->n_alive;
        plan_->built.note();
    }
    fake_image_embedder(const fake_image_embedder&) = delete;
    fake_image_embedder& operator=(const fake_image_embedder&) = delete;
    fake_image_embedder(fake_image_embedder&&) = delete;
    fake_image_embedder& operator=(fake_image_embedder&&) = delete;
    ~fake_image_embedder() override
    {
        --plan_->n_alive;
        plan_->destroyed.note();
    }

    footprint bytes() const override { return plan_->bytes; }
    const image_embedder_info& info() const noexcept override { return info_; }

    prepared_image prepare(const image_source& source) const override
    {
        plan_->prepared.note();
        const std::string name = name_of(source);
        if (name == "bad image") throw error{errc::invalid_argument, "byte 0 begins no image"};
        if (name == "huge image") throw std::bad_alloc{};
        if (name == "strange image") throw std::logic_error{"the fake is surprised"};
        prepared_image made;
        made.pixels.assign(name.begin(), name.end());
        raise(plan_->n_most_ahead, ++plan_->n_ahead);
        return made;
    }

    prepared_text prepare_text(const embed_input& input) const override
    {
        plan_->prepared.note();
        if (input.text == "bad text") throw error{text_errc::not_utf8, "byte 3 is no UTF-8"};
        const std::string all = std::string{input.prompt} + std::string{input.text};
        if (all.size() > input.max_tokens && input.too_long == on_too_long::error)
            throw error{text_errc::too_long, std::to_string(all.size()) + " tokens"};
        prepared_text made;
        made.dimension = input.dimension;
        made.truncated = all.size() > input.max_tokens;
        for (const char c : all.substr(0, input.max_tokens))
            made.tokens.push_back(static_cast<unsigned char>(c));
        return made;
    }

    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_image> batch, run_context& context) override
    {
        begin('i', context);
        plan_->n_ahead -= batch.size();
        raise(plan_->n_largest_batch, batch.size());
        std::vector<std::string> names;
        for (const prepared_image& one : batch)
            names.push_back(text_of(one.pixels));
        return compute(names, context);
    }

    std::vector<item_result<std::vector<float>>>
    run_text(std::span<const prepared_text> batch, run_context& context) override
    {
        begin('t', context);
        std::vector<std::string> names;
        std::size_t n_tokens = 0;
        for (const prepared_text& one : batch) {
            n_tokens += one.n_tokens();
            names.push_back(text_of(one.tokens));
        }
        raise(plan_->n_most_tokens, n_tokens);
        return compute(names, context);
    }

    std::unique_ptr<image_embedder> replicate() const override
    {
        if (!plan_->shares) return nullptr;
        ++plan_->n_replicas;
        return std::make_unique<fake_image_embedder>(plan_);
    }

    void warm_up(run_context&) override { ++plan_->n_warm_ups; }

private:
    template <class Numbers>
    static std::string text_of(const Numbers& numbers)
    {
        std::string text;
        for (const auto number : numbers)
            text.push_back(static_cast<char>(number));
        return text;
    }

    static void raise(std::atomic<std::size_t>& most, std::size_t seen)
    {
        std::size_t before = most.load();
        while (before < seen && !most.compare_exchange_weak(before, seen)) {
        }
    }

    void begin(char kind, const run_context& context)
    {
        plan_->ran.note();
        plan_->note_batch(kind);
        plan_->run_door.blocking_pass(context.stop());
    }

    std::vector<item_result<std::vector<float>>>
    compute(const std::vector<std::string>& names, run_context& context) const
    {
        std::vector<item_result<std::vector<float>>> rows;
        for (const std::string& name : names) {
            if (context.stop_requested())
                rows.emplace_back(std::vector<float>(plan_->dim, 666.0F));
            else
                rows.push_back(row_of(name));
            context.step_done();
        }
        return rows;
    }

    item_result<std::vector<float>> row_of(const std::string& name) const
    {
        if (name == "no memory") throw std::bad_alloc{};
        if (name == "bad batch") throw error{model_errc::failed, "the batch failed"};
        if (name == "bad row")
            return std::make_exception_ptr(error{model_errc::failed, "the row failed"});
        std::vector<float> row = fake_row(name, plan_->dim);
        if (name == "not a number") row[0] = std::nanf("");
        if (name == "short row") row.pop_back();
        return row;
    }

    std::shared_ptr<fake_picture_plan> plan_;
    image_embedder_info info_;
};

awaitable<std::unique_ptr<image_embedder>>
load_fake_image_embedder(std::shared_ptr<fake_picture_plan> plan, load_context context);

/// A loader of fakes that follow `plan`.
inline loader<image_embedding> fake_loader(const std::shared_ptr<fake_picture_plan>& plan)
{
    return
        [plan](load_context context) { return load_fake_image_embedder(plan, std::move(context)); };
}

}  // namespace modelpool::testing
