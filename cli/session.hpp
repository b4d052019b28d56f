#pragma once

#include <modelpool/pool/pool.hpp>
#include <modelpool/registry/registry.hpp>
#include <modelpool/runtime.hpp>

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <functional>

#include "common.hpp"
#include "model_files.hpp"

namespace modelpool::cli {

/// What a command that computes runs in: an event loop with a runtime, pools and a registry on it.
class session {
public:
    /// `generating` is how its workers generate.
    session(
        program& self,
        const settings& wanted,
        const sched::generation_options& generating = sched::generation_options{});

    /// Runs `body` on the loop, then shuts the pools down. A first signal cancels the body.
    /// Errors: what `body` throws; `interrupted`.
    void run(const std::function<awaitable<void>()>& body);
    /// The same, but the pools go on, until `close`.
    void run_part(const std::function<awaitable<void>()>& body);
    void close() { shut_down(std::chrono::seconds{5}); }

    /// The handle of a model, from the registry, with the session's device, dtype and workers.
    awaitable<handle<text_embedding>> open(card about);
    awaitable<handle<image_embedding>> open_images(card about);
    awaitable<handle<vision>> open_vision(card about);
    /// Of a model that writes text, whether it takes images or not.
    awaitable<generation_handle> open_generator(card about);
    awaitable<handle<text_to_image>> open_image_generator(card about);

    runtime& resources() noexcept { return runtime_; }

private:
    template <class Capability>
    awaitable<handle<Capability>>
    open_in(pool<Capability>& models, card about, model_options options);
    std::exception_ptr run_loop(const std::function<awaitable<void>()>& body);
    void end_with(const std::exception_ptr& problem);
    model_options options_of(const card& about) const;
    void shut_down(std::chrono::seconds grace);

    program& self_;
    const settings& wanted_;
    boost::asio::io_context io_;
    model_files files_;
    runtime runtime_;
    pool<text_embedding> embedders_;
    pool<image_embedding> image_embedders_;
    pool<text_to_text> writers_;
    pool<vision> viewers_;
    pool<text_to_image> painters_;
    registry models_;
};

}  // namespace modelpool::cli
