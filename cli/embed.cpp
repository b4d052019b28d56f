#include <modelpool/async/mutex.hpp>
#include <modelpool/async/offload.hpp>
#include <modelpool/error.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "commands.hpp"
#include "embed_rows.hpp"
#include "input.hpp"
#include "models_found.hpp"
#include "session.hpp"

namespace modelpool::cli {
namespace {

// Texts of one request: enough for full batches, few enough for rows to come while the next ones
// are computed.
constexpr std::size_t piece_texts = 256;

struct embed_arguments {
    common_options common;
    std::string input;
    std::string prompt_name;
    std::string prompt;
    std::vector<std::string> texts;
    CLI::Option* prompt_name_given{nullptr};
    CLI::Option* prompt_given{nullptr};
    std::size_t dimension{0};
    std::size_t max_tokens{0};
    std::string too_long{"truncate"};
    std::string encoding{"f32"};
    bool no_normalize{false};
};

embedding_dtype parse_encoding(const std::string& text)
{
    if (text == "f32") return embedding_dtype::f32;
    if (text == "int8") return embedding_dtype::int8;
    if (text == "binary") return embedding_dtype::binary;
    throw usage_error{"--encoding: unknown encoding '" + text + "': expected f32, int8 or binary"};
}

on_too_long parse_too_long(const std::string& text)
{
    if (text == "truncate") return on_too_long::truncate;
    if (text == "error") return on_too_long::error;
    throw usage_error{"--on-too-long: unknown choice '" + text + "': expected truncate or error"};
}

embed_options to_options(const embed_arguments& given)
{
    embed_options options;
    if (given.prompt_name_given->count() > 0) options.prompt_name(given.prompt_name);
    if (given.prompt_given->count() > 0) options.prompt(given.prompt);
    options.dimension(given.dimension)
        .normalize(!given.no_normalize)
        .max_tokens(given.max_tokens)
        .too_long(parse_too_long(given.too_long))
        .encoding(parse_encoding(given.encoding));
    return options;
}

// A run over all pieces of the input. Two lanes take turns, so that the workers compute one piece
// while another one is read or written; rows are written in order, and no lane runs ahead of the
// other.
class embed_run {
public:
    embed_run(session& where, std::shared_ptr<text_source> texts, embed_options options)
        : where_{where}
        , texts_{std::move(texts)}
        , options_{std::move(options)}
    {}
    ~embed_run() { stop_.request_stop(); }
    embed_run(const embed_run&) = delete;
    embed_run& operator=(const embed_run&) = delete;
    embed_run(embed_run&&) = delete;
    embed_run& operator=(embed_run&&) = delete;

    awaitable<void> run(card about, row_sink& rows, progress_line& progress);

private:
    struct piece {
        std::size_t index{0};
        std::vector<input_text> texts;
    };

    awaitable<void> lane(row_sink& rows, progress_line& progress);
    awaitable<void> work(row_sink& rows, progress_line& progress);
    using shared_piece = std::shared_ptr<const piece>;

    awaitable<shared_piece> next_piece();
    awaitable<embeddings> embed(shared_piece one);
    awaitable<void> find_bad_text(shared_piece one);
    awaitable<void> wait_for_turn(std::size_t index);

    session& where_;
    std::shared_ptr<text_source> texts_;
    embed_options options_;
    handle<text_embedding> model_;
    stop_source stop_;  // ends a read that waits for a pipe
    mutex reading_;
    std::shared_ptr<boost::asio::steady_timer> turn_;
    std::size_t n_read_{0};
    std::size_t n_written_{0};
    std::exception_ptr first_problem_;
};

awaitable<void> embed_run::run(card about, row_sink& rows, progress_line& progress)
{
    using namespace boost::asio::experimental::awaitable_operators;
    turn_ = std::make_shared<boost::asio::steady_timer>(
        where_.resources().get_executor(), boost::asio::steady_timer::time_point::max());
    auto opening = where_.open(std::move(about));
    model_ = co_await std::move(opening);
    auto first = lane(rows, progress);
    auto second = lane(rows, progress);
    auto both = std::move(first) && std::move(second);
    try {
        co_await std::move(both);
    } catch (...) {
        // Where one lane fails, the other is cancelled, and both arrive as one exception.
        std::rethrow_exception(first_problem_ ? first_problem_ : std::current_exception());
    }
    if (n_written_ == 0) throw usage_error{"the input holds no texts"};
    rows.finish();
}

awaitable<void> embed_run::lane(row_sink& rows, progress_line& progress)
{
    auto working = work(rows, progress);
    try {
        co_await std::move(working);
    } catch (...) {
        if (!first_problem_) first_problem_ = std::current_exception();
        stop_.request_stop();
        throw;
    }
}

awaitable<void> embed_run::work(row_sink& rows, progress_line& progress)
{
    for (;;) {
        auto reading = next_piece();
        const shared_piece one = co_await std::move(reading);
        if (one->texts.empty()) co_return;
        auto embedding = embed(one);
        embeddings result = co_await std::move(embedding);
        auto waiting = wait_for_turn(one->index);
        co_await std::move(waiting);
        rows.add(std::move(result));
        progress.add(one->texts.size());
        ++n_written_;
        turn_->cancel();
    }
}

awaitable<embed_run::shared_piece> embed_run::next_piece()
{
    auto locking = reading_.lock();
    const async_lock lock = co_await std::move(locking);
    // The job may outlive this run, on its way out: it owns what it reads from.
    auto read = [texts = texts_, stop = stop_.flag()] {
        return texts->blocking_next(piece_texts, stop);
    };
    auto reading = offload(where_.resources().file_threads(), std::move(read));
    auto one = std::make_shared<piece>();
    one->texts = co_await std::move(reading);
    one->index = n_read_++;
    co_return one;
}

awaitable<embeddings> embed_run::embed(shared_piece one)
{
    std::vector<std::string> texts;
    texts.reserve(one->texts.size());
    for (const input_text& text : one->texts)
        texts.push_back(text.text);
    request_options request;
    request.wait_for_place(true);
    std::exception_ptr problem;
    auto embedding = model_.embed(std::move(texts), options_, request);
    try {
        co_return co_await std::move(embedding);
    } catch (const error& failure) {
        if (failure.code().category() != text_category()) throw;
        problem = std::current_exception();
    }
    auto finding = find_bad_text(one);
    co_await std::move(finding);
    std::rethrow_exception(problem);
}

// Throws the error of the first text of the piece that cannot be embedded, with its place in the
// input.
awaitable<void> embed_run::find_bad_text(shared_piece one)
{
    for (const input_text& text : one->texts) {
        auto embedding = model_.embed(text.text, options_);
        try {
            co_await std::move(embedding);
        } catch (const error& failure) {
            throw failure.in(texts_->name_of(text.place));
        }
    }
}

awaitable<void> embed_run::wait_for_turn(std::size_t index)
{
    while (n_written_ != index) {
        boost::system::error_code woken;
        auto token = boost::asio::redirect_error(boost::asio::use_awaitable, woken);
        co_await turn_->async_wait(token);
    }
}

void run_embed(program& self, const embed_arguments& given)
{
    const settings wanted{given.common};
    const embed_options options = to_options(given);
    std::shared_ptr<text_source> texts = blocking_open_texts(given.texts, given.input);
    card about = blocking_find_card(wanted);
    const std::unique_ptr<row_sink> rows = make_row_sink(self, wanted);
    progress_line progress{self.out};
    session where{self, wanted};
    embed_run work{where, std::move(texts), options};
    where.run([&] { return work.run(std::move(about), *rows, progress); });
}

constexpr const char* footer =
    R"(Output: one row a line, numbers separated by spaces. With --json one document:
  {"model","dim","normalized","embeddings":[[...]],"usage":{"tokens","truncated"}}
With --json-lines one object a text, as soon as it is computed: {"index","embedding":[...]}

Encodings: f32 prints numbers that read back as the same floats. int8 prints whole numbers from -127 to
127 and a factor a row ("scales"; "scale"; first on a plain line): value = factor x number. binary prints
ceil(dim / 8) bytes as numbers from 0 to 255, a bit for each number above zero, the first one highest.

Examples:
  modelpool embed --model minilm "a cat" "a kitten" --json
  modelpool embed --model ./all-MiniLM-L6-v2 --input sentences.txt > rows.txt
  produce | modelpool embed --model minilm --input - --json-lines
Texts that begin with a dash go after "--".)";

void add_input_options(CLI::App& command, embed_arguments& into)
{
    command
        .add_option(
            "-i,--input",
            into.input,
            "A .json array of strings, .jsonl objects with \"text\", else a text a line; - is "
            "standard "
            "input")
        ->type_name("FILE");
    into.prompt_name_given =
        command
            .add_option(
                "--prompt-name", into.prompt_name, "A prompt of the model, put before every text")
            ->type_name("NAME");
    into.prompt_given =
        command
            .add_option("--prompt", into.prompt, "Text put before every text, as an instruction")
            ->type_name("PREFIX");
    into.prompt_given->excludes(into.prompt_name_given);
    command
        .add_option(
            "--max-tokens",
            into.max_tokens,
            "The most tokens of a text, special ones included (default: the model's own limit)")
        ->check(CLI::Range(1, 1 << 24))
        ->type_name("N");
    command
        .add_option(
            "--on-too-long", into.too_long, "What to do with longer texts: truncate or error")
        ->capture_default_str();
}

void add_row_options(CLI::App& command, embed_arguments& into)
{
    command.add_option("--dim", into.dimension, "Numbers a row, where the model has a choice")
        ->check(CLI::Range(1, 1 << 24))
        ->type_name("D");
    command.add_flag(
        "--no-normalize", into.no_normalize, "Rows as the model pools them, not of unit length");
    command.add_option("--encoding", into.encoding, "f32, int8 or binary")->capture_default_str();
}

}  // namespace

void add_embed(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("embed", "Turn texts into rows of numbers");
    auto given = std::make_shared<embed_arguments>();
    add_texts(*command, given->texts);
    add_model_options(*command, given->common);
    add_input_options(*command, *given);
    add_row_options(*command, *given);
    add_compute_options(*command, given->common);
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, true);
    command->footer(footer);
    command->callback([&self, given] { self.run = [&self, given] { run_embed(self, *given); }; });
}

}  // namespace modelpool::cli
