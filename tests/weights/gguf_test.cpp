#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/failure.hpp"
#include "support/gguf_builder.hpp"
#include "support/temp_dir.hpp"
#include "weights/gguf.hpp"

#include <sys/stat.h>

namespace modelpool::weights {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using testing::failure;
using testing::gguf_builder;

constexpr auto raw_u64 = [](std::uint64_t value) { return gguf_builder::raw(value); };

gguf_header parsed(const std::string& bytes)
{
    return gguf_header::parse(std::as_bytes(std::span{bytes}), "m.gguf");
}

std::string refusal(const std::string& bytes)
{
    return failure(model_errc::bad_file, [&bytes] { parsed(bytes); });
}

gguf_builder small_file()
{
    return gguf_builder{}
        .text("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .entry("llama.eps", 6, gguf_builder::raw(0.5F))
        .entry("flag", 7, std::string(1, '\1'))
        .texts("tokenizer.ggml.tokens", {"a", "", "bc"})
        .array(
            "ids", 5, 2, gguf_builder::raw(std::int32_t{-1}) + gguf_builder::raw(std::int32_t{7}))
        .tensor("w", {32, 2}, 8, 0)
        .tensor("b", {3}, 0, 96)
        .data(std::string(68, 'q') + std::string(28, '\0') + std::string(12, 'f'));
}

nlohmann::json json_of(const gguf_value& value)
{
    if (value.kind() == gguf_kind::array) {
        nlohmann::json items = nlohmann::json::array();
        for (std::size_t i = 0; i < value.size(); ++i)
            items.push_back(json_of(value.item(i)));
        return items;
    }
    if (value.boolean()) return *value.boolean();
    if (value.string()) return *value.string();
    if (value.kind() == gguf_kind::u64)
        return value.integer() ? nlohmann::json(*value.integer()) : nlohmann::json("too large");
    if (value.integer()) return *value.integer();
    return value.number().value();
}

}  // namespace

TEST_CASE("gguf: files of the reference writer are read as it wrote them")
{
    const std::filesystem::path data = std::filesystem::path{MODELPOOL_TEST_DATA} / "gguf";
    std::ifstream in{data / "cases.json"};
    const nlohmann::json cases = nlohmann::json::parse(in);
    REQUIRE(cases.size() >= 2);
    for (const auto& [name, expected] : cases.items()) {
        INFO(name);
        const auto file = gguf_file::blocking_open(data / name);
        const gguf_header& header = file->header();
        CHECK(file->file_bytes() == std::filesystem::file_size(data / name));
        CHECK(header.alignment() == expected.at("alignment").get<std::size_t>());
        for (const auto& [key, value] : expected.at("metadata").items()) {
            INFO(key);
            const gguf_value* const found = header.find(key);
            REQUIRE(found != nullptr);
            CHECK(to_string(found->kind()) == value.at("kind").get<std::string>());
            CHECK(json_of(*found) == value.at("value"));
        }
        CHECK(header.tensors().size() == expected.at("tensors").size());
        for (const auto& [tensor_name, facts] : expected.at("tensors").items()) {
            INFO(tensor_name);
            const gguf_tensor& tensor = header.tensors().at(tensor_name);
            CHECK(to_string(tensor.type) == facts.at("type").get<std::string>());
            CHECK(tensor.dims == facts.at("dims").get<std::vector<std::int64_t>>());
            if (!facts.contains("bytes")) {
                const std::string found = failure(
                    model_errc::unsupported, [&, &key = tensor_name] { header.data_of(key); });
                CHECK_THAT(found, Contains(to_string(tensor.type)));
                continue;
            }
            std::uint64_t sum = 0;
            for (const std::byte byte : header.data_of(tensor_name))
                sum = sum * 31 + std::to_integer<std::uint64_t>(byte);
            CHECK(tensor.data.size() == facts.at("bytes").get<std::size_t>());
            CHECK(sum == facts.at("sum").get<std::uint64_t>());
        }
    }
}

TEST_CASE("gguf: values are found as what they are")
{
    const std::string bytes = small_file().str();
    const gguf_header header = parsed(bytes);
    CHECK(header.version() == 3);
    CHECK(header.need_string("general.architecture") == "llama");
    CHECK(header.need_int("llama.block_count", 1, 100) == 2);
    CHECK(header.find_number("llama.eps") == 0.5);
    CHECK(header.find_number("llama.block_count") == 2.0);
    CHECK(header.find_bool("flag") == true);
    CHECK(header.find_strings("tokenizer.ggml.tokens").value().size() == 3);
    CHECK(header.find_strings("tokenizer.ggml.tokens").value()[2] == "bc");
    CHECK(header.find_ints("ids", -1, 7).value() == std::vector<std::int64_t>{-1, 7});
    CHECK(header.find_numbers("ids").value() == std::vector<double>{-1.0, 7.0});
    CHECK_FALSE(header.find_int("absent", 0, 1));
    CHECK_FALSE(header.find_strings("absent"));
    CHECK(header.data_of("w").size() == 68);
    CHECK(header.data_of("b").size() == 12);
    CHECK(header.tensors().at("w").n_elements() == 64);
}

TEST_CASE("gguf: a value of another kind names the key, the expected and the found")
{
    const std::string bytes = small_file().str();
    const gguf_header header = parsed(bytes);
    const std::vector<std::pair<std::string, std::string>> found{
        {failure(model_errc::bad_file, [&] { header.find_int("llama.block_count", 3, 9); }),
         "must be a whole number from 3 to 9, found 2"},
        {failure(model_errc::bad_file, [&] { header.need_int("general.architecture", 0, 9); }),
         "'general.architecture' must be a whole number from 0 to 9, found 'llama'"},
        {failure(model_errc::bad_file, [&] { header.find_bool("llama.block_count"); }),
         "must be true or false, found 2"},
        {failure(model_errc::bad_file, [&] { header.find_strings("ids"); }),
         "must be an array of strings, found an array of 2 i32"},
        {failure(model_errc::bad_file, [&] { header.find_ints("ids", 0, 9); }), "item 0, found -1"},
        {failure(model_errc::bad_file, [&] { header.find_string("ids"); }), "must be a string"},
        {failure(model_errc::bad_file, [&] { header.find_numbers("flag"); }),
         "must be an array of numbers, found true"},
        {failure(model_errc::bad_file, [&] { header.need_string("absent"); }),
         "lacks the key 'absent'"},
        {failure(model_errc::missing_tensor, [&] { header.data_of("absent"); }),
         "lacks the tensor 'absent'"}};
    for (const auto& [text, part] : found) {
        CHECK_THAT(text, StartsWith("m.gguf: "));
        CHECK_THAT(text, Contains(part));
    }
}

TEST_CASE("gguf: a version that is not known, and big-endian, are refused by name")
{
    for (const auto& [version, part] : std::vector<std::pair<std::uint32_t, std::string>>{
             {0, "version 0"}, {1, "version 1"}, {4, "version 4"}, {0x03000000, "big-endian"}}) {
        const std::string bytes = small_file().version(version).str();
        CHECK_THAT(failure(model_errc::unsupported, [&] { parsed(bytes); }), Contains(part));
    }
    CHECK(parsed(small_file().version(2).str()).version() == 2);
}

TEST_CASE("gguf: malformed headers are refused, whatever they promise")
{
    constexpr std::uint64_t huge = 0xFFFFFFFFFFFFFFFF;
    const auto base = [] { return gguf_builder{}; };
    const std::vector<std::pair<std::string, std::string>> cases{
        {"GGU", "not a GGUF file"},
        {"PK\3\4 and more", "not a GGUF file"},
        {base().counts(huge, 0).str(), "promises 18446744073709551615 tensors"},
        {base().counts(0, huge).str(), "metadata entries"},
        {base().counts(1, 0).str(), "promises 1 tensors in 8 bytes"},
        {base().entry("k", 13, "12345678").str(), "kind 13"},
        {base().entry("k", 8, raw_u64(huge)).str(), "a string at byte"},
        {base().array("k", 8, huge, "").str(), "promises 18446744073709551615 items"},
        {base().array("k", 10, huge / 8 + 2, "12345678").str(), "items in 8 bytes"},
        {base().array("k", 13, 1, "12345678").str(), "kind 13"},
        {base().entry("k", 7, "\2").str(), "a bool of 2"},
        {base().array("k", 7, 2, std::string{"\1\5", 2}).str(), "a bool of 5"},
        {base().text("k", "a").text("k", "b").str(), "the key 'k' twice"},
        {base().u32("general.alignment", 24).str(), "power of two, found 24"},
        {base().u32("general.alignment", 0).str(), "'general.alignment'"},
        {base().tensor("t", {1, 1, 1, 1, 1}, 0, 0).str(), "has 5 dimensions"},
        {base().tensor("t", {huge}, 0, 0).str(), "more elements than can be counted"},
        {base().tensor("t", {1U << 31U, 1U << 31U, 4}, 0, 0).str(), "more elements than"},
        {base().tensor("t", {1ULL << 61U, 2}, 0, 0).str(), "truncated"},
        {base().tensor("t", {4}, 0, 8).data("0123456789abcdef01234567").str(), "multiple of 32"},
        {base().tensor("t", {33}, 8, 0).data(std::string(128, 'x')).str(), "blocks of 32"},
        {base().tensor("t", {4}, 0, 32).data(std::string(40, 'x')).str(), "truncated"},
        {base().tensor("t", {4}, 0, huge - 31).data(std::string(40, 'x')).str(), "truncated"},
        {base().tensor("t", {0}, 0, 64).data(std::string(40, 'x')).str(), "truncated"},
        {base().tensor("t", {9}, 0, 0).tensor("u", {1}, 0, 32).data(std::string(64, 'x')).str(),
         "'t' and 'u' overlap"},
        {base().tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).data(std::string(64, 'x')).str(),
         "the tensor 't' twice"}};
    for (const auto& [bytes, part] : cases) {
        const std::string found = refusal(bytes);
        CHECK_THAT(found, StartsWith("m.gguf: "));
        CHECK_THAT(found, Contains(part));
    }
}

TEST_CASE("gguf: arrays nest up to a limit")
{
    const auto nested = [](std::size_t depth) {
        std::string items = gguf_builder::raw(std::uint8_t{7});
        std::uint32_t kind = 0;
        for (std::size_t i = 0; i < depth; ++i) {
            items = gguf_builder::raw(kind) + gguf_builder::raw(std::uint64_t{1}) + items;
            kind = 9;
        }
        return gguf_builder{}.entry("k", 9, items).str();
    };
    const std::string fine = nested(16);
    const gguf_header header = parsed(fine);
    gguf_value inner = *header.find("k");
    while (inner.kind() == gguf_kind::array)
        inner = inner.item(0);
    CHECK(inner.integer() == 7);
    CHECK_THAT(refusal(nested(17)), Contains("more than 16 deep"));
    CHECK_THAT(refusal(nested(2'000)), Contains("more than 16 deep"));
}

TEST_CASE("gguf: every cut and every changed byte gives tensors inside the file or a typed error")
{
    const std::string whole = small_file().str();
    for (std::size_t n_bytes = 0; n_bytes < whole.size(); ++n_bytes)
        refusal(whole.substr(0, n_bytes));
    std::mt19937 random{7};
    std::size_t n_read = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::string bytes = whole;
        for (std::uint32_t i = 0; i <= random() % 3; ++i)
            bytes[random() % (bytes.size() - 96)] = static_cast<char>(random());
        try {
            const gguf_header header = parsed(bytes);
            for (const auto& [name, tensor] : header.tensors()) {
                if (tensor.data.empty()) continue;
                CHECK(std::as_bytes(std::span{bytes}).data() <= tensor.data.data());
                CHECK(tensor.data.size() <= bytes.size());
            }
            ++n_read;
        } catch (const error& problem) {
            const bool is_typed =
                problem.code() == model_errc::bad_file || problem.code() == model_errc::unsupported;
            CHECK(is_typed);
        }
    }
    CHECK(n_read > 100);
}

TEST_CASE("gguf: what is no GGUF file on disk is refused with its name")
{
    const testing::temp_dir folder;
    const auto opening = [](const std::filesystem::path& path) {
        return failure(model_errc::bad_file, [&path] { gguf_file::blocking_open(path); });
    };
    CHECK_THAT(opening(folder / "absent.gguf"), Contains("absent.gguf: cannot be opened"));
    CHECK_THAT(opening(folder.path()), Contains("not a regular file"));
    CHECK_THAT(opening(folder.write("empty.gguf", "")), Contains("the file is empty"));
    CHECK_THAT(opening(folder.write("text.gguf", "hello")), Contains("not a GGUF file"));
    const std::filesystem::path fifo = folder / "fifo.gguf";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK_THAT(opening(fifo), Contains("not a regular file"));
    const auto file = gguf_file::blocking_open(folder.write("fine.gguf", small_file().str()));
    CHECK(file->header().data_of("b").size() == 12);
    file->drop_pages();
    CHECK(file->header().need_string("general.architecture") == "llama");
}

}  // namespace modelpool::weights
