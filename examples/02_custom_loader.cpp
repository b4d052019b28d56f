// Runs a model of one's own in a pool: a coroutine that loads, and a class with two blocking functions.
// Prints how many words two texts share, as a cosine: 0.666667
#include <modelpool/modelpool.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <iostream>
#include <sstream>

namespace mp = modelpool;
using rows = std::vector<mp::item_result<std::vector<float>>>;

// Counts words, each at the place that its hash gives.
class bag_of_words final : public mp::embedder {
public:
    const mp::embedder_info& info() const noexcept override { return info_; }
    mp::prepared_text prepare(const mp::embed_input& input) const override
    {
        mp::prepared_text text;
        std::istringstream words{std::string{input.text}};
        for (std::string word; words >> word && text.n_tokens() < input.max_tokens;)
            text.tokens.push_back(static_cast<std::int32_t>(std::hash<std::string>{}(word) % 4096));
        return text;
    }
    rows run(std::span<const mp::prepared_text> batch, mp::run_context&) override
    {
        rows results;
        for (const mp::prepared_text& text : batch) {
            std::vector<float> row(info_.dim);
            for (const auto word : text.tokens)
                row.at(static_cast<std::size_t>(word)) += 1;
            results.emplace_back(std::move(row));
        }
        return results;
    }

private:
    mp::embedder_info info_{4096, {4096}, false, 512, {}, {}};
};

mp::awaitable<std::unique_ptr<mp::embedder>> load_bag(mp::load_context context)
{
    auto build = []() -> std::unique_ptr<mp::embedder> { return std::make_unique<bag_of_words>(); };
    co_return co_await context.offload(build);  // on the worker's own thread, as for real weights
}

mp::awaitable<void> co_main(mp::pool<mp::text_embedding>& embedders)
{
    co_await embedders.spawn_worker("bag", load_bag);  // complete when the worker is ready
    std::vector<std::string> texts{"the black cat", "the white cat"};
    auto bag = embedders.find("bag");
    mp::embeddings close = co_await bag.embed(std::move(texts));
    std::cout << mp::cosine(close[0], close[1]) << '\n';
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
