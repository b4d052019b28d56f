#include <modelpool/error.hpp>

#include <array>
#include <filesystem>
#include <system_error>
#include <vector>

#include "support/json.hpp"
#include "support/printable.hpp"
#include "text/tokenizer_assembly.hpp"
#include "text/vocabulary_files.hpp"

namespace modelpool::text {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_file_bytes = std::size_t{256} << 20U;

// In this order: the file that says most comes first.
constexpr std::array<std::string_view, 7> known_names{
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tiktoken.model",
    "vocab.json",
    "vocab.txt"};

std::string shown(const fs::path& path)
{
    return support::printable(path.native(), 4096);
}

bool is_there(const fs::path& path)
{
    std::error_code problem;
    return fs::exists(fs::symlink_status(path, problem));
}

std::string blocking_read(const fs::path& path)
{
    return support::blocking_read_file(path, text_errc::bad_file, max_file_bytes);
}

fs::path find_in(const fs::path& folder)
{
    std::string looked_for;
    for (const std::string_view name : known_names) {
        if (is_there(folder / name)) return folder / name;
        looked_for.append(looked_for.empty() ? "" : ", ").append(name);
    }
    throw error{text_errc::bad_file, shown(folder) + ": no tokenizer: looked for " + looked_for};
}

// A tiktoken file may have the name of a SentencePiece model. That begins with the tag of its first
// piece, a line feed; a line of tiktoken's is base64.
bool is_ranks(std::string_view bytes)
{
    const std::string_view line = bytes.substr(0, bytes.find('\n'));
    const std::size_t space = line.find(' ');
    return !line.empty() && space != std::string_view::npos && space > 0 &&
           line.substr(0, space).find_first_not_of(
               "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") ==
               std::string_view::npos;
}

}  // namespace

tokenizer_parts blocking_read_tokenizer(const fs::path& path)
{
    std::error_code ignored;
    const fs::path file = fs::is_directory(path, ignored) ? find_in(path) : path;
    const fs::path folder = file.parent_path();
    const std::string bytes = blocking_read(file);
    const std::string name = file.filename().string();
    if (name == "vocab.json") {
        const fs::path merges_file = folder / "merges.txt";
        const std::string merges = blocking_read(merges_file);
        return parse_bpe_files(
            {bytes, merges, shown(file), shown(merges_file)},
            tokenizer_config::blocking_read(folder));
    }
    if (file.extension() == ".txt")
        return parse_vocab_txt(bytes, tokenizer_config::blocking_read(folder), shown(file));
    if (name == "tiktoken.model" || file.extension() == ".tiktoken" ||
        (file.extension() == ".model" && is_ranks(bytes)))
        return parse_tiktoken(bytes, tokenizer_config::blocking_read(folder), shown(file));
    if (file.extension() == ".model")
        return parse_sentencepiece(bytes, tokenizer_config::blocking_read(folder), shown(file));
    if (file == path) return parse_tokenizer_json(bytes, nullptr, shown(file));
    const tokenizer_config config = tokenizer_config::blocking_read(folder);
    return parse_tokenizer_json(bytes, &config, shown(file));
}

}  // namespace modelpool::text
