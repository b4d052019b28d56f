// Embeds two texts and prints how close they are.
//
//     01_embed MODEL_FOLDER          a sentence-transformers checkpoint, such as all-MiniLM-L6-v2
//
// Prints, with that one, the cosine of the two rows: 0.766277
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <iostream>

namespace mp = modelpool;
using namespace std::chrono_literals;

// [readme]
mp::awaitable<void> co_main(mp::runtime& rt, std::string folder)
{
    mp::pool<mp::text_embedding> embedders{rt};
    mp::registry models{rt};
    models.use(embedders);
    co_await models.add(mp::models::blocking_card(folder));

    auto minilm = co_await models.find<mp::text_embedding>(folder);  // loads nothing yet
    std::vector<std::string> texts{"a cat", "a kitten"};
    mp::embeddings rows = co_await minilm.embed(std::move(texts));  // [2, 384], unit rows
    std::cout << mp::cosine(rows[0], rows[1]) << '\n';
    co_await embedders.shutdown(5s);
}

void run(const char* folder)
{
    boost::asio::io_context io;  // yours: modelpool never owns an event loop
    mp::runtime rt{io.get_executor()};
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    boost::asio::co_spawn(io, co_main(rt, folder), rethrow);
    io.run();
}
// [/readme]

int main(int argc, char** argv)
try {
    if (argc != 2) {
        std::cerr << "usage: 01_embed MODEL_FOLDER\n";
        return 2;
    }
    run(argv[1]);
} catch (const std::exception& problem) {
    std::cerr << "01_embed: " << problem.what() << '\n';
    return 1;
}
