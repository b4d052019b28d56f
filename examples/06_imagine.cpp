// Makes an image of a prompt, and tells of each step when it was computed.
//
//     06_imagine MODEL PROMPT FILE.png    a folder of FLUX.1-schnell or Stable Diffusion 3.5
//
// Prints "step 1 of 4" and so on, then the size and the seed of the image that it wrote.
#include <modelpool/image/codec.hpp>
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <fstream>
#include <iostream>

namespace mp = modelpool;
using namespace std::chrono_literals;

mp::awaitable<void>
co_main(mp::runtime& rt, std::string model, std::string prompt, std::string path)
{
    mp::pool<mp::text_to_image> painters{rt};
    mp::registry models{rt};
    models.use(painters);
    co_await models.add(mp::models::blocking_card(model));
    auto painter = co_await models.find<mp::text_to_image>(model);
    mp::image_stream stream = co_await painter.imagine(std::move(prompt));
    while (auto event = co_await stream.next()) {
        if (!event->image)
            std::cout << "step " << event->step << " of " << event->n_steps << std::endl;
        if (!event->image) continue;
        const mp::generated_image& made = *event->image;
        const std::vector<std::byte> png = mp::encode_png(made.pixels);
        std::ofstream{path, std::ios::binary}.write(
            reinterpret_cast<const char*>(png.data()), static_cast<std::streamsize>(png.size()));
        std::cout << made.pixels.width << "x" << made.pixels.height << ", seed " << made.seed
                  << '\n';
    }
    co_await painters.shutdown(5s);
}

int main(int argc, char** argv)
try {
    if (argc != 4) {
        std::cerr << "usage: 06_imagine MODEL PROMPT FILE.png\n";
        return 2;
    }
    boost::asio::io_context io;
    mp::runtime rt{io.get_executor()};
    auto rethrow = [](std::exception_ptr problem) {
        if (problem) std::rethrow_exception(problem);
    };
    boost::asio::co_spawn(io, co_main(rt, argv[1], argv[2], argv[3]), rethrow);
    io.run();
} catch (const std::exception& problem) {
    std::cerr << "06_imagine: " << problem.what() << '\n';
    return 1;
}
