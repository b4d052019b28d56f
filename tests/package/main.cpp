// What a user's program does first: it awaits something, and meets an error of the library as its
// own type.
#include <modelpool/modelpool.hpp>
#ifdef CONSUMER_USES_IMAGE
#include <modelpool/image/codec.hpp>
#endif
#ifdef CONSUMER_USES_TORCH
#include <modelpool/models/bert.hpp>
#endif

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <exception>
#include <iostream>

bool knows(const modelpool::pool<modelpool::text_embedding>& models);  // in models.cpp

namespace {

void blocking_fail()
{
#ifdef CONSUMER_USES_TORCH
    modelpool::models::load_bert("a folder that is not there");
#else
    throw modelpool::error{modelpool::errc::unsupported, "this program uses the core alone"};
#endif
}

modelpool::awaitable<void> co_main()
{
    blocking_fail();
    co_return;
}

// What the image part links is found with it.
bool images_work()
{
#ifdef CONSUMER_USES_IMAGE
    const modelpool::image red{1, 1, {255, 0, 0}};
    return modelpool::decode_image(modelpool::encode_png(red)).rgb == red.rgb;
#else
    return true;
#endif
}

}  // namespace

int main()
{
    boost::asio::io_context io;
    bool failed_as_expected = false;
    auto report = [&](std::exception_ptr failure) {
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const modelpool::error& error) {
            std::cout << error.what() << '\n';
            failed_as_expected = true;
        }
    };
    boost::asio::co_spawn(io, co_main(), report);
    io.run();
    modelpool::runtime rt{io.get_executor()};
    const modelpool::pool<modelpool::text_embedding> models{rt};
    return failed_as_expected && images_work() && !knows(models) ? 0 : 1;
}
