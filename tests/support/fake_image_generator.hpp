#pragma once

#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/load_context.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "fake_pool_generator.hpp"
#include "fakes.hpp"
#include "turnstile.hpp"

namespace modelpool::testing {

/// How the fake image generators of one model behave, and what happened to them. As
/// `fake_text_plan`.
struct fake_image_plan {
    std::size_t n_steps{4};
    std::atomic<bool> shares{true};
    std::atomic<bool> obeys_stop{true};  // at the gates

    door build_door;
    turnstile begin_gate;
    turnstile step_gate;
    turnstile finish_gate;

    std::atomic<int> n_builds{0};
    std::atomic<int> n_loader_calls{0};
    std::atomic<int> n_replicas{0};
    std::atomic<int> n_alive{0};
    std::atomic<int> n_begun{0};
    std::atomic<int> n_steps_done{0};
    std::atomic<int> n_finished{0};
    std::atomic<int> n_open{0};  // images begun, and neither finished nor cancelled
    thread_journal worked;
};

/// An image generator whose images are `n_steps` pixels wide and one high, each of the first letter
/// of the prompt, or of the first byte of the image it starts from. A prompt may ask for trouble:
/// "bad prompt", "fail at 2" (in that step, from 1 on), "no memory at 2", "no memory to begin",
/// "fail to finish".
class fake_image_generator final : public image_generator, public counted {
public:
    explicit fake_image_generator(std::shared_ptr<fake_image_plan> plan)
        : plan_{std::move(plan)}
    {
        info_.default_width = 64;
        info_.default_height = 64;
        info_.size_multiple = 16;
        info_.max_side = 2048;
        info_.default_steps = plan_->n_steps;
        ++plan_->n_alive;
    }
    ~fake_image_generator() override { --plan_->n_alive; }

    const image_generator_info& info() const noexcept override { return info_; }

    std::size_t begin(const image_params& request, run_context& context) override
    {
        plan_->worked.note();
        cancel();
        pass(plan_->begin_gate, context);
        if (request.prompt == "bad prompt") throw error{text_errc::not_utf8, "byte 3 is no UTF-8"};
        if (request.prompt == "no memory to begin") throw std::bad_alloc{};
        if (request.width % info_.size_multiple != 0)
            throw error{
                errc::invalid_argument,
                "width is " + std::to_string(request.width) + "; it must be a multiple of 16"};
        params_ = request;
        n_done_ = 0;
        ++plan_->n_begun;
        ++plan_->n_open;
        open_ = true;
        return n_wanted();
    }

    bool step(run_context& context) override
    {
        plan_->worked.note();
        pass(plan_->step_gate, context);
        if (context.stop_requested()) return true;
        ++n_done_;
        if (number_after(params_->prompt, "fail at ") == n_done_)
            throw error{model_errc::failed, "the step failed"};
        if (number_after(params_->prompt, "no memory at ") == n_done_) throw std::bad_alloc{};
        ++plan_->n_steps_done;
        context.step_done();
        return n_done_ < n_wanted();
    }

    image preview(run_context&) override { return pixels(n_done_); }

    generated_image finish(run_context& context) override
    {
        pass(plan_->finish_gate, context);
        if (params_->prompt == "fail to finish") throw error{model_errc::failed, "no decoder"};
        generated_image made;
        made.pixels = pixels(n_wanted());
        made.seed = params_->seed.value_or(1);
        ++plan_->n_finished;
        cancel();
        return made;
    }

    void cancel() noexcept override
    {
        if (std::exchange(open_, false)) --plan_->n_open;
    }

    std::unique_ptr<image_generator> replicate() const override
    {
        if (!plan_->shares) return nullptr;
        ++plan_->n_replicas;
        return std::make_unique<fake_image_generator>(plan_);
    }

private:
    void pass(turnstile& gate, run_context& context) const
    {
        gate.blocking_pass(plan_->obeys_stop ? context.stop() : stop_flag{});
    }

    std::size_t n_wanted() const
    {
        return params_->n_steps == 0 ? info_.default_steps : params_->n_steps;
    }

    image pixels(std::size_t width) const
    {
        image made;
        made.width = width;
        made.height = 1;
        auto shade = static_cast<std::uint8_t>(params_->prompt.empty() ? 0 : params_->prompt[0]);
        if (params_->init_image)
            if (const auto* bytes = std::get_if<image_bytes>(&*params_->init_image))
                shade = std::to_integer<std::uint8_t>(bytes->bytes.at(0));
        made.rgb.assign(width * 3, shade);
        return made;
    }

    std::shared_ptr<fake_image_plan> plan_;
    image_generator_info info_;
    std::optional<image_params> params_;
    std::size_t n_done_{0};
    bool open_{false};
};

inline loader<text_to_image> fake_image_loader(const std::shared_ptr<fake_image_plan>& plan)
{
    return [plan](load_context context) {
        return load_fake_model<fake_image_generator, image_generator>(plan, std::move(context));
    };
}

}  // namespace modelpool::testing
