// Tells which of some texts describes an image best.
//
//     03_embed_image MODEL_FOLDER IMAGE TEXT...      a CLIP checkpoint, such as clip-vit-base-patch32
//
// Prints the probability of each text, as in
//     0.974 a photo of a cat
//     0.026 a photo of a dog
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <iomanip>
#include <iostream>

namespace mp = modelpool;
using namespace std::chrono_literals;

mp::awaitable<void>
co_main(mp::runtime& rt, std::string folder, std::string file, std::vector<std::string> texts)
{
    mp::pool<mp::image_embedding> embedders{rt};
    mp::registry models{rt};
    models.use(embedders);
    co_await models.add(mp::models::blocking_card(folder));

    auto clip = co_await models.find<mp::image_embedding>(folder);
    // Bytes, decoded pixels, web addresses and data URIs are images too.
    std::vector<mp::image_source> images{mp::image_file{file}};
    auto comparing = clip.similarity(std::move(images), texts);
    const mp::image_text_similarity found = co_await std::move(comparing);
    const std::vector<double> probabilities = found.text_probabilities(0);
    for (std::size_t i = 0; i < texts.size(); ++i)
        std::cout << std::fixed << std::setprecision(3) << probabilities[i] << ' ' << texts[i]
                  << '\n';
    co_await embedders.shutdown(5s);
}

int main(int argc, char** argv)
try {
    if (argc < 4) {
        std::cerr << "usage: 03_embed_image MODEL_FOLDER IMAGE TEXT...\n";
        return 2;
    }
    boost::asio::io_context io;
    mp::runtime rt{io.get_executor()};
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    std::vector<std::string> texts(argv + 3, argv + argc);
    boost::asio::co_spawn(io, co_main(rt, argv[1], argv[2], std::move(texts)), rethrow);
    io.run();
} catch (const std::exception& problem) {
    std::cerr << "03_embed_image: " << problem.what() << '\n';
    return 1;
}
