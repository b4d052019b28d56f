// Finds the sentences closest in meaning to each question.
//
//     semantic_search CACHE_DIR REVISION SENTENCES_FILE QUESTIONS_FILE
//
// The model is sentence-transformers/all-MiniLM-L6-v2, fetched into CACHE_DIR unless it is there
// already; both files have a text a line. Prints each question with its three nearest sentences and
// their cosines, then what each worker did, and the speed of it all.
#include <modelpool/hub/hub.hpp>
#include <modelpool/modelpool.hpp>
#include <modelpool/models.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>

namespace {

namespace mp = modelpool;
using texts = std::vector<std::string>;

texts read_lines(const char* path)
{
    std::ifstream file{path};
    texts lines;
    for (std::string line; std::getline(file, line);)
        if (!line.empty()) lines.push_back(std::move(line));
    if (!file.eof() || lines.empty())
        throw std::runtime_error{std::string{path} + ": cannot be read, or holds no text"};
    return lines;
}

// What the searches have in common; it outlives them all.
struct search {
    mp::registry& models;
    std::string revision;
    texts sentences;
    mp::embeddings rows;
    std::size_t n_tokens{0};
    std::chrono::duration<double> load{0};
};

mp::awaitable<std::string> answer(search& all, std::string question)
{
    auto minilm = co_await all.models.find<mp::text_embedding>("minilm");
    const mp::embeddings asked = co_await minilm.embed(question);
    all.n_tokens += asked.usage().n_tokens;
    std::vector<std::pair<double, std::size_t>> scores;
    for (std::size_t i = 0; i < all.rows.size(); ++i)
        scores.emplace_back(mp::cosine(asked[0], all.rows[i]), i);
    const auto n_shown = static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, scores.size()));
    std::partial_sort(scores.begin(), scores.begin() + n_shown, scores.end(), std::greater<>{});
    std::ostringstream text;
    text << '\n' << question << '\n' << std::fixed << std::setprecision(3);
    for (auto place = scores.begin(); place != scores.begin() + n_shown; ++place)
        text << "   " << place->first << "  " << all.sentences[place->second] << '\n';
    co_return text.str();
}

mp::awaitable<void> embed_sentences(search& all)
{
    std::vector<mp::card> cards = mp::models::catalogue();
    for (mp::card& about : cards)
        if (about.key == "sentence-transformers/all-MiniLM-L6-v2")
            about.repo = mp::repository{about.key + "@" + all.revision};
    co_await all.models.add(std::move(cards));
    auto minilm = co_await all.models.find<mp::text_embedding>("minilm");
    const auto begin = std::chrono::steady_clock::now();
    co_await minilm.info();  // the first request loads the model
    all.load = std::chrono::steady_clock::now() - begin;
    all.rows = co_await minilm.embed(all.sentences);
    all.n_tokens += all.rows.usage().n_tokens;
}

void print_workers(const mp::pool<mp::text_embedding>& embedders)
{
    std::cout << '\n';
    for (const mp::model_stats& model : embedders.stats())
        for (const mp::worker_stats& worker : model.workers)
            std::cout << "worker " << worker.id << " of " << model.key << ": " << worker.n_items
                      << " texts, " << worker.n_tokens << " tokens\n";
}

void run(const char* cache, std::string revision, texts sentences, const texts& questions)
{
    boost::asio::io_context io;
    mp::hub files{mp::hub_options::from_environment().cache_dir(cache)};
    mp::runtime rt{io.get_executor(), files};
    mp::pool<mp::text_embedding> embedders{rt};
    mp::registry models{rt};
    models.use(embedders);
    search all{models, std::move(revision), std::move(sentences), {}, 0, {}};
    auto check = [](std::exception_ptr e) { e ? std::rethrow_exception(e) : void(); };
    const auto begin = std::chrono::steady_clock::now();
    boost::asio::co_spawn(io, embed_sentences(all), check);
    io.run();

    texts answers(questions.size());
    for (std::size_t i = 0; i < questions.size(); ++i) {
        auto keep = [&, i](std::exception_ptr failure, std::string text) {
            check(failure);
            answers[i] = std::move(text);
        };
        boost::asio::co_spawn(io, answer(all, questions[i]), keep);  // all at the same time
    }
    io.restart();
    io.run();
    const std::chrono::duration<double> elapsed =
        std::chrono::steady_clock::now() - begin - all.load;

    for (const std::string& text : answers)
        std::cout << text;
    print_workers(embedders);
    std::cout << all.sentences.size() << " sentences and " << questions.size() << " questions, "
              << all.n_tokens << " tokens in " << std::fixed << std::setprecision(2)
              << elapsed.count() << " s: " << std::setprecision(0)
              << static_cast<double>(all.n_tokens) / elapsed.count()
              << " tokens/s, after a load of " << std::setprecision(2) << all.load.count()
              << " s\n";
    boost::asio::co_spawn(io, embedders.shutdown(std::chrono::seconds{5}), check);
    io.restart();
    io.run();
}

}  // namespace

int main(int argc, char** argv)
try {
    if (argc != 5) {
        std::cerr << "usage: semantic_search CACHE_DIR REVISION SENTENCES_FILE QUESTIONS_FILE\n";
        return 2;
    }
    run(argv[1], argv[2], read_lines(argv[3]), read_lines(argv[4]));
} catch (const std::exception& problem) {
    std::cerr << "semantic_search: " << problem.what() << '\n';
    return 1;
}
