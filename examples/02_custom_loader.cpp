// Runs a model of one's own in a pool: a coroutine that loads, and a class with two blocking
// functions. Prints how alike the letters of two texts are, as a cosine: 0.785584
#include <modelpool/modelpool.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <iostream>

namespace mp = modelpool;

class bag_of_letters final : public mp::embedder {
    mp::embedder_info info_{256, {256}, false, 512, {}, {}};

public:
    const mp::embedder_info& info() const noexcept override { return info_; }
    mp::prepared_text prepare(const mp::embed_input& input) const override
    {
        mp::prepared_text text;
        for (const char letter : input.text.substr(0, input.max_tokens))
            text.tokens.push_back(static_cast<unsigned char>(letter));
        return text;
    }
    std::vector<mp::item_result<std::vector<float>>>
    run(std::span<const mp::prepared_text> batch, mp::run_context&) override
    {
        std::vector<mp::item_result<std::vector<float>>> results;
        for (const mp::prepared_text& text : batch) {
            std::vector<float> row(info_.dim);
            for (const std::int32_t letter : text.tokens)
                row.at(static_cast<std::size_t>(letter)) += 1;
            results.emplace_back(std::move(row));
        }
        return results;
    }
};
mp::awaitable<std::unique_ptr<mp::embedder>> load_bag(mp::load_context context)
{
    auto build = [] { return std::unique_ptr<mp::embedder>{std::make_unique<bag_of_letters>()}; };
    co_return co_await context.offload(build);  // on the worker's own thread, as for real weights
}
mp::awaitable<void> co_main(mp::pool<mp::text_embedding>& embedders)
{
    co_await embedders.spawn_worker("bag", load_bag);  // complete when the worker is ready
    std::vector<std::string> texts{"the black cat", "the white cat"};
    mp::embeddings rows = co_await embedders.find("bag").embed(std::move(texts));
    std::cout << mp::cosine(rows[0], rows[1]) << '\n';
    co_await embedders.shutdown(std::chrono::seconds{5});
}
int main()
{
    boost::asio::io_context io;
    mp::runtime rt{io.get_executor()};
    mp::pool<mp::text_embedding> embedders{rt};
    auto check = [](std::exception_ptr e) { e ? std::rethrow_exception(e) : void(); };
    boost::asio::co_spawn(io, co_main(embedders), check);
    io.run();
}
