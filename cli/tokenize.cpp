#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "commands.hpp"
#include "input.hpp"
#include "models_found.hpp"
#include "text_format.hpp"

namespace modelpool::cli {
namespace {

constexpr std::size_t piece_texts = 256;

struct tokenize_arguments {
    common_options common;
    std::string input;
    std::vector<std::string> texts;
    bool no_special{false};
    bool decode{false};
};

void append_tokens(std::string& out, const text::encoding& encoded)
{
    out += '[';
    for (std::size_t i = 0; i < encoded.tokens.size(); ++i) {
        if (i > 0) out += ',';
        append_json(out, encoded.tokens[i]);
    }
    out += ']';
}

void append_offsets(std::string& out, const text::encoding& encoded)
{
    out += '[';
    for (std::size_t i = 0; i < encoded.offsets.size(); ++i) {
        out += i > 0 ? ",[" : "[";
        append_number(out, encoded.offsets[i].first);
        out += ',';
        append_number(out, encoded.offsets[i].second);
        out += ']';
    }
    out += ']';
}

void append_ids(std::string& out, const text::encoding& encoded)
{
    out += '[';
    append_numbers(out, std::span<const text::token_id>{encoded.ids}, ',');
    out += ']';
}

// Calls `use` for every text of the input, in order, with its tokens.
void blocking_for_each_text(
    const text::tokenizer& tokenizer,
    const tokenize_arguments& given,
    const std::function<void(const text::encoding&)>& use)
{
    const auto texts = blocking_open_texts(given.texts, given.input);
    const auto options =
        text::encode_options{}.add_special_tokens(!given.no_special).with_offsets(true);
    for (;;) {
        const std::vector<input_text> piece = texts->blocking_next(piece_texts, stop_flag{});
        if (piece.empty()) return;
        for (const input_text& one : piece) {
            text::encoding encoded;
            try {
                encoded = tokenizer.encode(one.text, options);
            } catch (const error& problem) {
                throw problem.in(texts->name_of(one.place));
            }
            use(encoded);
        }
    }
}

// {"ids":[[…]],"tokens":[[…]],"offsets":[[[b,e]…]]}
void print_document(output& out, const text::tokenizer& tokenizer, const tokenize_arguments& given)
{
    std::string ids;
    std::string tokens;
    std::string offsets;
    blocking_for_each_text(tokenizer, given, [&](const text::encoding& encoded) {
        for (std::string* list : {&ids, &tokens, &offsets})
            if (!list->empty()) *list += ',';
        append_ids(ids, encoded);
        append_tokens(tokens, encoded);
        append_offsets(offsets, encoded);
    });
    output::document document{out};
    document.write(R"({"ids":[)" + ids + R"(],"tokens":[)");
    document.write(tokens);
    document.write(R"(],"offsets":[)" + offsets + "]}\n");
}

void print_json_lines(
    output& out, const text::tokenizer& tokenizer, const tokenize_arguments& given)
{
    std::size_t index = 0;
    blocking_for_each_text(tokenizer, given, [&](const text::encoding& encoded) {
        std::string line = R"({"index":)";
        append_number(line, index++);
        line += R"(,"ids":)";
        append_ids(line, encoded);
        line += R"(,"tokens":)";
        append_tokens(line, encoded);
        line += R"(,"offsets":)";
        append_offsets(line, encoded);
        out.write(line + "}\n");
    });
}

// A token a line, an empty line after each text.
void print_table(output& out, const text::tokenizer& tokenizer, const tokenize_arguments& given)
{
    blocking_for_each_text(tokenizer, given, [&](const text::encoding& encoded) {
        std::string lines;
        for (std::size_t i = 0; i < encoded.ids.size(); ++i) {
            append_number(lines, encoded.ids[i]);
            lines += '\t' + visible(encoded.tokens[i]) + '\t';
            append_number(lines, encoded.offsets[i].first);
            lines += '\t';
            append_number(lines, encoded.offsets[i].second);
            lines += '\n';
        }
        out.write(lines + '\n');
    });
}

std::vector<std::string>
blocking_decode(const text::tokenizer& tokenizer, const tokenize_arguments& given)
{
    std::vector<std::string> texts;
    for (const std::vector<std::int32_t>& ids : blocking_read_id_arrays(given.input)) {
        try {
            texts.push_back(tokenizer.decode(ids, given.no_special));
        } catch (const error& problem) {
            throw problem.in(given.input + ": element " + std::to_string(texts.size() + 1));
        }
    }
    return texts;
}

void print_decoded(output& out, const text::tokenizer& tokenizer, const tokenize_arguments& given)
{
    const std::vector<std::string> texts = blocking_decode(tokenizer, given);
    if (!given.common.json) {
        for (const std::string& text : texts)
            out.write((out.is_terminal() ? visible(text) : text) + '\n');
        return;
    }
    std::string document = R"({"texts":[)";
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (i > 0) document += ',';
        append_json(document, texts[i]);
    }
    output::document{out}.write(document + "]}\n");
}

void run_tokenize(program& self, const tokenize_arguments& given)
{
    const settings wanted{given.common};
    if (given.decode && (given.input.empty() || !given.texts.empty()))
        throw usage_error{"--decode takes its ids from --input FILE, an array of id arrays"};
    if (given.decode && wanted.json_lines)
        throw usage_error{"--decode prints plain lines or, with --json, one document"};
    const auto tokenizer = text::tokenizer::blocking_load(blocking_find_folder(wanted));
    if (given.decode)
        print_decoded(self.out, tokenizer, given);
    else if (wanted.json)
        print_document(self.out, tokenizer, given);
    else if (wanted.json_lines)
        print_json_lines(self.out, tokenizer, given);
    else
        print_table(self.out, tokenizer, given);
}

constexpr const char* footer =
    R"(Needs the tokenizer's files only. --model may also be a tokenizer.json.
Output: a line a token (id, token, begin, end; tabs between), an empty line after each text.
With --json one document: {"ids":[[...]],"tokens":[[...]],"offsets":[[[begin,end],...]]}; with --decode
{"texts":[...]}. Offsets count code points; those of special tokens are 0,0.

Examples:
  modelpool tokenize --model minilm "a cat" --json
  modelpool tokenize --model minilm --input sentences.txt --no-special
  modelpool tokenize --model minilm --decode --input ids.json --no-special)";

}  // namespace

void add_tokenize(CLI::App& app, program& self)
{
    CLI::App* command = app.add_subcommand("tokenize", "Turn texts into tokens, or back");
    auto given = std::make_shared<tokenize_arguments>();
    add_texts(*command, given->texts);
    add_model_options(*command, given->common);
    command
        ->add_option(
            "-i,--input",
            given->input,
            "A .json array of strings, .jsonl objects with \"text\", else a text a line; - is "
            "standard "
            "input")
        ->type_name("FILE");
    command->add_flag(
        "--no-special", given->no_special, "Add no special tokens; with --decode, leave them out");
    command->add_flag("--decode", given->decode, "Turn ids back into texts");
    add_cache_options(*command, given->common);
    add_output_options(*command, given->common, true);
    command->footer(footer);
    command->callback(
        [&self, given] { self.run = [&self, given] { run_tokenize(self, *given); }; });
}

}  // namespace modelpool::cli
