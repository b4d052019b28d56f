// Asks a vision model about an image, and then again: the second answer begins sooner.
//
//     05_describe MODEL IMAGE QUESTION...       a LLaVA folder; a file or data URI
//
// Prints each answer while it is made, then how much of its prompt was known already.
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <iostream>

namespace mp = modelpool;
using namespace std::chrono_literals;

mp::awaitable<void>
co_main(mp::runtime& rt, std::string model, std::string image, std::vector<std::string> questions)
{
    mp::pool<mp::vision> viewers{rt};
    mp::registry models{rt};
    models.use(viewers);
    co_await models.add(mp::models::blocking_card(model));
    auto viewer = co_await models.find<mp::vision>(model);

    const bool is_address = image.find(':') != std::string::npos;
    const mp::image_source source = is_address ? mp::image_source{mp::image_url{image}}
                                               : mp::image_source{mp::image_file{image}};
    for (std::string& question : questions) {
        mp::generation_params params;
        params.max_tokens = 100;
        mp::token_stream reply =
            co_await viewer.describe(source, std::move(question), std::move(params));
        while (auto event = co_await reply.next()) {
            std::cout << event->text << std::flush;
            if (event->end)
                std::cout << "\n[" << event->end->usage.n_cached_tokens << " of "
                          << event->end->usage.n_prompt_tokens << " tokens were known]\n";
        }
    }
    co_await viewers.shutdown(5s);
}

int main(int argc, char** argv)
try {
    if (argc < 4) {
        std::cerr << "usage: 05_describe MODEL IMAGE QUESTION...\n";
        return 2;
    }
    boost::asio::io_context io;
    mp::runtime rt{io.get_executor()};  // with a hub beside it, web addresses would be got, too
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    boost::asio::co_spawn(io, co_main(rt, argv[1], argv[2], {argv + 3, argv + argc}), rethrow);
    io.run();
} catch (const std::exception& problem) {
    std::cerr << "05_describe: " << problem.what() << '\n';
    return 1;
}
