// Answers many prompts at once: one worker computes them together, which costs little more than one.
//
//     08_batch MODEL PROMPT...       a GGUF file, or a folder of safetensors
//
// Prints each answer as soon as it is whole, then how fast all of them came together.
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <vector>

namespace mp = modelpool;
using namespace std::chrono_literals;

mp::awaitable<std::size_t> answer(mp::handle<mp::text_to_text> writer, std::string prompt)
{
    mp::generation_params params;
    params.max_tokens = 64;
    mp::token_stream reply = co_await writer.complete(prompt, std::move(params));
    const mp::generation_result whole = co_await reply.collect();
    std::cout << "--- " << prompt << '\n' << whole.text << '\n';
    co_return whole.end.usage.n_generated_tokens;
}

mp::awaitable<void> co_main(mp::runtime& rt, std::vector<std::string> arguments)
{
    mp::pool<mp::text_to_text> writers{rt};
    mp::registry models{rt};
    models.use(writers);
    const std::string model = arguments.front();
    co_await models.add(mp::models::blocking_card(model));
    auto writer = co_await models.find<mp::text_to_text>(model);
    co_await writer.info();

    // Each runs on its own; the gate opens when the last one has ended.
    mp::gate all;
    std::size_t n_tokens = 0;
    const auto begin = std::chrono::steady_clock::now();
    auto executor = co_await boost::asio::this_coro::executor;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        auto count = [&n_tokens, ticket = all.enter()](std::exception_ptr problem, std::size_t n) {
            n_tokens += n;
            if (problem) std::cout << "one prompt had no answer\n";
        };
        boost::asio::co_spawn(executor, answer(writer, arguments[i]), std::move(count));
    }
    co_await all.close_and_wait();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::cout << "[" << n_tokens << " tokens, " << static_cast<double>(n_tokens) / took.count()
              << " a second]\n";
    co_await writers.shutdown(5s);
}

int main(int argc, char** argv)
try {
    if (argc < 3) {
        std::cerr << "usage: 08_batch MODEL PROMPT...\n";
        return 2;
    }
    boost::asio::io_context io{1};
    mp::runtime rt{io.get_executor()};
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    std::vector<std::string> arguments{argv + 1, argv + argc};
    boost::asio::co_spawn(io, co_main(rt, std::move(arguments)), rethrow);
    io.run();
} catch (const std::exception& problem) {
    std::cerr << "08_batch: " << problem.what() << '\n';
    return 1;
}
