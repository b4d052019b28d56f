// Streams what a model makes of a prompt, and stops it after so many tokens' text.
//
//     04_generate MODEL PROMPT       a GGUF file, or a folder of safetensors
//
// Prints the continuation while it is made, then why it ended.
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <iostream>

namespace mp = modelpool;
using namespace std::chrono_literals;

mp::awaitable<void> co_main(mp::runtime& rt, std::string model, std::string prompt)
{
    mp::pool<mp::text_to_text> writers{rt};
    mp::registry models{rt};
    models.use(writers);
    co_await models.add(mp::models::blocking_card(model));
    auto writer = co_await models.find<mp::text_to_text>(model);

    mp::generation_params params;
    params.max_tokens = 200;
    mp::token_stream reply = co_await writer.complete(std::move(prompt), std::move(params));
    std::size_t n_bytes = 0;
    while (auto event = co_await reply.next()) {
        std::cout << event->text << std::flush;
        n_bytes += event->text.size();
        if (n_bytes > 400) reply.stop();  // its blocks of the KV cache are free at the next step
        if (event->end) std::cout << "\n[" << event->end->usage.n_generated_tokens << " tokens]\n";
    }
    co_await writers.shutdown(5s);
}

int main(int argc, char** argv)
try {
    if (argc != 3) {
        std::cerr << "usage: 04_generate MODEL PROMPT\n";
        return 2;
    }
    boost::asio::io_context io;
    mp::runtime rt{io.get_executor()};
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    boost::asio::co_spawn(io, co_main(rt, argv[1], argv[2]), rethrow);
    io.run();
} catch (const std::exception& problem) {
    std::cerr << "04_generate: " << problem.what() << '\n';
    return 1;
}
