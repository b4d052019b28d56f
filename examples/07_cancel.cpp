// Stops an answer before its end: by a deadline of the caller's, and by a cancellation slot.
//
//     07_cancel MODEL PROMPT       a GGUF file, or a folder of safetensors
//
// Prints what came within half a second, and then what came until it was told to stop.
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <exception>
#include <iostream>

namespace mp = modelpool;
namespace asio = boost::asio;
using namespace std::chrono_literals;

// Prints an answer that never ends by itself. Whoever stops waiting for this coroutine destroys its
// stream, and so ends the generation: the worker is free again at its next step.
mp::awaitable<void> talk(mp::handle<mp::text_to_text> writer, std::string prompt)
{
    mp::generation_params params;
    params.ignore_end = true;
    mp::token_stream reply = co_await writer.complete(std::move(prompt), std::move(params));
    while (auto event = co_await reply.next())
        std::cout << event->text << std::flush;
}

mp::awaitable<void> co_main(mp::runtime& rt, std::string model, std::string prompt)
{
    mp::pool<mp::text_to_text> writers{rt};
    mp::registry models{rt};
    models.use(writers);
    co_await models.add(mp::models::blocking_card(model));
    auto writer = co_await models.find<mp::text_to_text>(model);
    co_await writer.info();  // loads it: what follows measures answers alone

    auto slow = talk(writer, prompt);
    auto in_time = co_await mp::as_result(mp::with_timeout(500ms, std::move(slow)));
    if (!in_time) std::cout << "\n[" << in_time.error().message() << "]\n";

    // The same by hand: any button could emit the signal.
    asio::cancellation_signal stop;
    auto executor = co_await asio::this_coro::executor;
    asio::steady_timer done{executor, asio::steady_timer::time_point::max()};
    auto finish = [&done](std::exception_ptr) { done.expires_after(0s); };
    asio::co_spawn(
        executor, talk(writer, prompt), asio::bind_cancellation_slot(stop.slot(), finish));
    asio::steady_timer pause{executor, 300ms};
    co_await pause.async_wait(asio::use_awaitable);
    stop.emit(asio::cancellation_type::terminal);
    auto waiting = done.async_wait(asio::use_awaitable);
    co_await mp::as_result(std::move(waiting));
    std::cout << "\n[stopped]\n";
    co_await writers.shutdown(5s);
}

int main(int argc, char** argv)
try {
    if (argc != 3) {
        std::cerr << "usage: 07_cancel MODEL PROMPT\n";
        return 2;
    }
    asio::io_context io{1};
    mp::runtime rt{io.get_executor()};
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    asio::co_spawn(io, co_main(rt, argv[1], argv[2]), rethrow);
    io.run();
} catch (const std::exception& problem) {
    std::cerr << "07_cancel: " << problem.what() << '\n';
    return 1;
}
