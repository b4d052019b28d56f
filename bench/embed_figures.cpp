#include "embed_figures.hpp"

#include <modelpool/models/inspect.hpp>
#include <modelpool/pool/pool.hpp>
#include <modelpool/runtime.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <exception>
#include <utility>

namespace modelpool::bench {
namespace {

using stopwatch = std::chrono::steady_clock;
using nanoseconds = std::chrono::nanoseconds;

// Knuth's MMIX generator, which a script has in a line.
class draws {
public:
    std::uint32_t next()
    {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<std::uint32_t>(state_ >> 33U);
    }
    double uniform() { return static_cast<double>(next()) / 2147483648.0; }
    double normal()
    {
        double sum = -6;
        for (int i = 0; i != 12; ++i)
            sum += uniform();
        return sum;
    }

private:
    std::uint64_t state_{42};
};

std::string text_of(draws& random, std::size_t n_tokens)
{
    constexpr std::array words{"time",  "people", "year",  "way",   "day",   "man",   "thing",
                               "world", "life",   "hand",  "part",  "child", "eye",   "place",
                               "work",  "week",   "case",  "point", "house", "water", "small",
                               "large", "red",    "green", "river", "stone", "wind",  "light",
                               "under", "over",   "the",   "and"};
    std::string text;
    for (std::size_t i = 2; i < n_tokens; ++i) {  // two special tokens
        if (!text.empty()) text += ' ';
        text += words[random.next() % words.size()];
    }
    return text;
}

std::size_t length_of(workload which, draws& random)
{
    switch (which) {
    case workload::one_short:
        return 8;
    case workload::short_texts:
        return 3 + random.next() % 63;
    case workload::mixed:
        return std::clamp<std::size_t>(
            static_cast<std::size_t>(std::exp(3.71 + 0.75 * random.normal())), 3, 256);
    case workload::long_texts:
        return 256;
    }
    return 8;
}

std::size_t count_of(workload which)
{
    switch (which) {
    case workload::one_short:
        return 1;
    case workload::short_texts:
        return 1024;
    case workload::mixed:
        return 512;
    case workload::long_texts:
        return 128;
    }
    return 1;
}

awaitable<void>
embed_once(handle<text_embedding> model, std::vector<std::string> texts, embeddings& result)
{
    auto embedding = model.embed(std::move(texts));
    result = co_await std::move(embedding);
}

// One text after another, until so many are done or it is time.
awaitable<void> embed_again(
    handle<text_embedding> model,
    std::vector<std::string> texts,
    std::pair<std::size_t, stopwatch::time_point> end,
    std::vector<nanoseconds>& each)
{
    for (std::size_t i = 0; i != end.first && stopwatch::now() < end.second; ++i) {
        const auto begun = stopwatch::now();
        auto embedding = model.embed(texts[i % texts.size()]);
        co_await std::move(embedding);
        each.push_back(stopwatch::now() - begun);
    }
}

awaitable<void> embed_until(
    handle<text_embedding> model,
    std::string text,
    const bool& ended,
    std::vector<nanoseconds>& each)
{
    while (!ended) {
        const auto begun = stopwatch::now();
        auto embedding = model.embed(text);
        co_await std::move(embedding);
        each.push_back(stopwatch::now() - begun);
    }
}

awaitable<void> embed_all(handle<text_embedding> model, std::vector<std::string> texts, bool& ended)
{
    auto embedding = model.embed(std::move(texts));
    try {
        co_await std::move(embedding);
    } catch (...) {
        ended = true;
        throw;
    }
    ended = true;
}

pool_options one_model(const embed_setup& setup)
{
    scaling_options scaling;
    if (setup.n_workers > 0)
        scaling.cold_start_workers(setup.n_workers).max_workers(setup.n_workers);
    return pool_options{}.scaling(scaling);
}

}  // namespace

std::vector<std::string> texts_of(workload which)
{
    draws random;
    std::vector<std::string> texts;
    for (std::size_t i = 0; i != count_of(which); ++i)
        texts.push_back(text_of(random, length_of(which, random)));
    return texts;
}

nanoseconds latencies::quantile(double q) const
{
    if (each.empty()) return nanoseconds{0};
    const auto last = static_cast<double>(each.size() - 1);
    return each[static_cast<std::size_t>(std::lround(q * last))];
}

struct embed_stand::state {
    explicit state(const embed_setup& setup)
        : runtime_of{io.get_executor(), runtime_options{}.n_cores(setup.n_threads)}
        , models{runtime_of, one_model(setup)}
    {
        const card about = models::blocking_card(setup.folder);
        worker_options worker;
        worker.dtype(setup.precision).memory(about.memory);
        model_options options;
        options.worker(std::move(worker));
        if (setup.n_workers > 0)
            options.scaling(
                scaling_options{}.cold_start_workers(setup.n_workers).max_workers(setup.n_workers));
        model = models.add("model", about.load.get<text_embedding>(), std::move(options));
    }

    // Runs until nothing is left to do.
    void run()
    {
        io.restart();
        io.run();
        if (problem) std::rethrow_exception(std::exchange(problem, nullptr));
    }
    void start(awaitable<void> work)
    {
        auto ended = [this](std::exception_ptr failure) {
            if (failure && !problem) problem = std::move(failure);
        };
        boost::asio::co_spawn(io, std::move(work), ended);
    }

    boost::asio::io_context io{1};
    runtime runtime_of;
    pool<text_embedding> models;
    handle<text_embedding> model;
    nanoseconds first_row{0};
    std::exception_ptr problem;
};

embed_stand::embed_stand(const embed_setup& setup)
{
    const auto begun = stopwatch::now();
    state_ = std::make_unique<state>(setup);
    blocking_embed(texts_of(workload::one_short));
    state_->first_row = stopwatch::now() - begun;
}

embed_stand::~embed_stand()
{
    state_->start(state_->models.shutdown(std::chrono::seconds{5}));
    state_->io.restart();
    state_->io.run();
}

nanoseconds embed_stand::first_row() const noexcept
{
    return state_->first_row;
}

embed_time embed_stand::blocking_embed(const std::vector<std::string>& texts)
{
    embeddings rows;
    const auto begun = stopwatch::now();
    state_->start(embed_once(state_->model, texts, rows));
    state_->run();
    return {stopwatch::now() - begun, rows.usage().n_tokens};
}

std::vector<std::vector<float>> embed_stand::blocking_rows(const std::vector<std::string>& texts)
{
    embeddings rows;
    state_->start(embed_once(state_->model, texts, rows));
    state_->run();
    std::vector<std::vector<float>> result;
    for (std::size_t i = 0; i != rows.size(); ++i)
        result.push_back(rows.to_f32(i));
    return result;
}

latencies embed_stand::blocking_one_by_one(const std::string& text, std::size_t n)
{
    latencies found;
    const auto begun = stopwatch::now();
    std::vector<std::string> texts{text};
    const std::pair end{n, stopwatch::time_point::max()};
    state_->start(embed_again(state_->model, std::move(texts), end, found.each));
    state_->run();
    found.wall = stopwatch::now() - begun;
    std::ranges::sort(found.each);
    return found;
}

latencies embed_stand::blocking_callers(
    const std::vector<std::string>& texts, std::size_t n_callers, nanoseconds duration)
{
    latencies found;
    const auto begun = stopwatch::now();
    std::vector<std::vector<nanoseconds>> each(n_callers);
    for (std::size_t i = 0; i != n_callers; ++i) {
        std::vector<std::string> own = texts;  // each one begins elsewhere
        std::ranges::rotate(
            own, own.begin() + static_cast<std::ptrdiff_t>(i * texts.size() / n_callers));
        const std::pair end{SIZE_MAX, begun + duration};
        state_->start(embed_again(state_->model, std::move(own), end, each[i]));
    }
    state_->run();
    found.wall = stopwatch::now() - begun;
    for (const auto& one : each)
        found.each.insert(found.each.end(), one.begin(), one.end());
    std::ranges::sort(found.each);
    return found;
}

latencies embed_stand::blocking_beside(const std::string& text, std::size_t n_texts)
{
    latencies found;
    const auto begun = stopwatch::now();
    bool ended = false;
    std::vector<std::string> many(n_texts, text);
    state_->start(embed_all(state_->model, std::move(many), ended));
    state_->start(embed_until(state_->model, text, ended, found.each));
    state_->run();
    found.wall = stopwatch::now() - begun;
    std::ranges::sort(found.each);
    return found;
}

double
least_cosine(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b)
{
    double least = 1;
    for (std::size_t i = 0; i != a.size(); ++i)
        least = std::min(least, cosine(a[i], b[i]));
    return least;
}

}  // namespace modelpool::bench
