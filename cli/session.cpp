#include "session.hpp"

#include <modelpool/error.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <string>
#include <utility>

namespace modelpool::cli {
namespace {

runtime_options to_runtime_options(const settings& wanted)
{
    runtime_options options;
    options.memory_limit_bytes(wanted.memory_limit_bytes)
        .n_cores(wanted.n_threads)
        .log(stderr_log(wanted));
    return options;
}

}  // namespace

session::session(program& self, const settings& wanted, const sched::generation_options& generating)
    : self_{self}
    , wanted_{wanted}
    , io_{1}
    , files_{wanted}
    , runtime_{io_.get_executor(), files_, to_runtime_options(wanted)}
    , embedders_{runtime_}
    , image_embedders_{runtime_}
    , writers_{runtime_, pool_options{}.generation(generating)}
    , viewers_{runtime_, pool_options{}.generation(generating)}
    , painters_{runtime_}
    , models_{runtime_}
{}

model_options session::options_of(const card& about) const
{
    worker_options worker;
    worker.device(wanted_.device).dtype(wanted_.dtype).memory(about.memory).warm_up(about.warm_up);
    model_options options;
    options.worker(std::move(worker))
        .source(model_source{about.repo, about.files})
        .scaling(about.scaling.value_or(scaling_options{}));
    if (wanted_.n_workers > 0)
        options.scaling(
            scaling_options{}.cold_start_workers(wanted_.n_workers).max_workers(wanted_.n_workers));
    return options;
}

template <class Capability>
awaitable<handle<Capability>>
session::open_in(pool<Capability>& models, card about, model_options options)
{
    if (about.kind() != capability_of<Capability>())
        throw error{
            registry_errc::wrong_capability,
            about.key + " is of capability " + std::string{to_string(about.kind())} + ", not " +
                Capability::name};
    models.add(about.key, about.load.get<Capability>(), std::move(options));
    auto adding = models_.add(about.key, models);
    co_await std::move(adding);
    auto finding = models_.find<Capability>(about.key);
    co_return co_await std::move(finding);
}

awaitable<handle<text_embedding>> session::open(card about)
{
    model_options options = options_of(about);
    options.prompts(about.prompts).default_prompt(about.default_prompt).cuttable(about.cuttable);
    return open_in(embedders_, std::move(about), std::move(options));
}

awaitable<handle<image_embedding>> session::open_images(card about)
{
    model_options options = options_of(about);
    return open_in(image_embedders_, std::move(about), std::move(options));
}

awaitable<handle<vision>> session::open_vision(card about)
{
    model_options options = options_of(about);
    options.sampling(about.sampling);
    return open_in(viewers_, std::move(about), std::move(options));
}

awaitable<generation_handle> session::open_generator(card about)
{
    if (about.kind() == capability::vision) {
        auto opening = open_vision(std::move(about));
        co_return co_await std::move(opening);
    }
    model_options options = options_of(about);
    options.sampling(about.sampling);
    auto opening = open_in(writers_, std::move(about), std::move(options));
    co_return co_await std::move(opening);
}

awaitable<handle<text_to_image>> session::open_image_generator(card about)
{
    model_options options = options_of(about);
    return open_in(painters_, std::move(about), std::move(options));
}

void session::run(const std::function<awaitable<void>()>& body)
{
    const std::exception_ptr problem = run_loop(body);
    shut_down(std::chrono::seconds{problem ? 0 : 5});
    end_with(problem);
}

void session::run_part(const std::function<awaitable<void>()>& body)
{
    end_with(run_loop(body));
}

std::exception_ptr session::run_loop(const std::function<awaitable<void>()>& body)
{
    std::exception_ptr problem;
    boost::asio::cancellation_signal cancel;
    auto emit = [&cancel] { cancel.emit(boost::asio::cancellation_type::terminal); };
    const interrupt::scope on_signal{self_.signals, [this, emit] { boost::asio::post(io_, emit); }};
    auto finish = [&problem](std::exception_ptr failure) { problem = std::move(failure); };
    io_.restart();
    boost::asio::co_spawn(io_, body(), boost::asio::bind_cancellation_slot(cancel.slot(), finish));
    io_.run();
    return problem;
}

void session::end_with(const std::exception_ptr& problem)
{
    if (problem && self_.signals.requested()) throw interrupted{};
    if (problem) std::rethrow_exception(problem);
}

void session::shut_down(std::chrono::seconds grace)
{
    auto ignore = [](std::exception_ptr) {};  // a shutdown has no errors of its own
    io_.restart();
    boost::asio::co_spawn(io_, embedders_.shutdown(grace), ignore);
    boost::asio::co_spawn(io_, image_embedders_.shutdown(grace), ignore);
    boost::asio::co_spawn(io_, writers_.shutdown(grace), ignore);
    boost::asio::co_spawn(io_, viewers_.shutdown(grace), ignore);
    boost::asio::co_spawn(io_, painters_.shutdown(grace), ignore);
    io_.run();
}

}  // namespace modelpool::cli
