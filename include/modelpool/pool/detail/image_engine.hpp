#pragma once

#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/image_job.hpp>
#include <modelpool/pool/detail/info_job.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace modelpool::detail {

/// Makes one image after the other; a step of it is a step of the image.
class image_engine final : public engine {
public:
    image_engine(std::unique_ptr<image_generator> model, engine_options options)
        : model_{std::move(model)}
        , options_{std::move(options)}
    {}

    intake take(const std::shared_ptr<job>& one) override
    {
        if (questions_.take(one)) return intake::all;
        if (next_ || current_) return intake::full;
        next_ = std::static_pointer_cast<image_job>(one);
        return intake::all;
    }

    bool busy() const noexcept override { return questions_.busy() || next_ || current_; }

    step_report step(run_context& context) override
    {
        step_report report;
        questions_.answer(model_->info(), report);
        if (next_) current_ = std::exchange(next_, nullptr);
        if (!current_) return report;
        try {
            if (!begun_)
                begin(context);
            else
                advance(context, report);
        } catch (const std::bad_alloc&) {
            fail(std::make_exception_ptr(error{model_errc::out_of_memory}), report);
        } catch (...) {
            fail(std::current_exception(), report);
        }
        return report;
    }

    void drop(const std::exception_ptr& why) noexcept override
    {
        questions_.drop(why);
        if (next_) next_->fail(why);
        next_ = nullptr;
        if (!current_) return;
        current_->fail(why);
        leave();
    }

    std::unique_ptr<engine> replicate() const override
    {
        std::unique_ptr<image_generator> copy = model_->replicate();
        if (!copy) return nullptr;
        return std::make_unique<image_engine>(std::move(copy), options_);
    }

    footprint bytes() const override { return model_->bytes(); }
    void warm_up(run_context& context) override { model_->warm_up(context); }

private:
    /// Nothing of the image under way is left.
    void leave() noexcept
    {
        model_->cancel();
        current_ = nullptr;
        begun_ = false;
        between_ = false;
        steps_left_ = false;
    }

    void fail(const std::exception_ptr& why, step_report& report) noexcept
    {
        // Before the first step it may well be the request that is at fault.
        if (begun_ || speaks_against_model(why)) report.failure = why;
        report.fail(current_, why);
        leave();
    }

    static bool speaks_against_model(const std::exception_ptr& why) noexcept
    {
        try {
            std::rethrow_exception(why);
        } catch (const error& problem) {
            return problem.code() == model_errc::device_lost;
        } catch (...) {
            return true;
        }
    }

    void begin(run_context& context);
    void advance(run_context& context, step_report& report);
    void begin_next(run_context& context);
    image_event new_event() const;
    void step_image(run_context& context);

    std::unique_ptr<image_generator> model_;
    engine_options options_;
    info_lane<image_generator_info> questions_;
    std::shared_ptr<image_job> next_;
    std::shared_ptr<image_job> current_;
    bool begun_{false};       // of current_: its caller has the stream
    bool between_{false};     // of current_: an image is done, and the next one not begun
    bool steps_left_{false};  // of current_
};

inline void image_engine::begin(run_context& context)
{
    if (current_->ended()) {
        current_ = nullptr;
        return;
    }
    current_->n_steps = model_->begin(current_->next_params(), context);
    if (context.stop_requested()) return;  // it may have begun nothing
    if (!current_->admit()) {
        leave();
        return;
    }
    begun_ = true;
    steps_left_ = current_->n_steps > 0;
}

inline void image_engine::advance(run_context& context, step_report& report)
{
    if (current_->stream().stopped()) {
        report.done.push_back(current_);
        leave();
        return;
    }
    report.n_items = 1;
    if (between_) {
        begin_next(context);
        return;
    }
    if (steps_left_) {
        step_image(context);
        return;
    }
    image_event last = new_event();
    last.image = model_->finish(context);
    if (context.stop_requested()) return;
    if (current_->index + 1 < current_->params.n_images) {
        current_->stream().push_newest(std::move(last));
        ++current_->index;
        between_ = true;
        return;
    }
    current_->set_image(std::move(last));
    ++report.n_succeeded;
    report.done.push_back(current_);
    leave();
}

inline void image_engine::begin_next(run_context& context)
{
    const std::size_t n_steps = model_->begin(current_->next_params(), context);
    if (context.stop_requested()) return;
    current_->n_steps = n_steps;
    current_->n_done = 0;
    between_ = false;
    steps_left_ = n_steps > 0;
}

inline image_event image_engine::new_event() const
{
    image_event event;
    event.index = current_->index;
    event.step = current_->n_done;
    event.n_steps = current_->n_steps;
    return event;
}

inline void image_engine::step_image(run_context& context)
{
    const bool more = model_->step(context);
    if (context.stop_requested()) return;
    ++current_->n_done;
    image_event event = new_event();
    if (current_->params.wants_previews) event.preview = model_->preview(context);
    steps_left_ = more;
    current_->stream().push_newest(std::move(event));
}

}  // namespace modelpool::detail
