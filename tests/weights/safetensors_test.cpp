#include <catch2/catch.hpp>

#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "support/failure.hpp"
#include "support/safetensors_builder.hpp"
#include "support/temp_dir.hpp"
#include "weights/safetensors.hpp"

#include <sys/stat.h>

namespace modelpool::weights {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using testing::failure;
using testing::safetensors_builder;

tensor_map parsed(const std::string& bytes)
{
    return safetensors_file::parse(std::as_bytes(std::span{bytes}), "m.safetensors");
}

std::string refusal(const std::string& bytes)
{
    return failure(model_errc::bad_file, [&bytes] { parsed(bytes); });
}

// The error of a header over `data`, whose own length is right.
std::string header_refusal(std::string_view header, std::string_view data = "")
{
    return refusal(safetensors_builder::file(header, data));
}

// The error of a tensor 'a' with these fields and two bytes of data.
std::string entry_refusal(const std::string& fields)
{
    return header_refusal("{\"a\":{" + fields + "}}", "xy");
}

std::string text_of(const tensor_view& tensor)
{
    std::string text(tensor.data.size(), '\0');
    std::memcpy(text.data(), tensor.data.data(), tensor.data.size());
    return text;
}

const std::string good_fields = R"("dtype":"U8","shape":[2],"data_offsets":[0,2])";

std::string small_file()
{
    return safetensors_builder{}
        .metadata("format", "pt")
        .add_f32("weight", {2, 3}, {1, 2, 3, 4, 5, 6})
        .add("bias", "I64", {1}, "12345678")
        .add("flag", "BOOL", {}, "\1")
        .str();
}

}  // namespace

TEST_CASE("weights: tensors come with their type, shape and bytes")
{
    const std::string bytes = small_file();
    const tensor_map tensors = parsed(bytes);
    REQUIRE(tensors.size() == 3);

    const tensor_view& weight = tensors.at("weight");
    CHECK(weight.type == element::f32);
    CHECK(weight.shape == std::vector<std::int64_t>{2, 3});
    CHECK(weight.n_elements() == 6);
    std::vector<float> values(6);
    REQUIRE(weight.data.size() == 24);
    std::memcpy(values.data(), weight.data.data(), 24);
    CHECK(values == std::vector<float>{1, 2, 3, 4, 5, 6});

    CHECK(tensors.at("bias").type == element::i64);
    CHECK(text_of(tensors.at("bias")) == "12345678");
    CHECK(tensors.at("flag").type == element::boolean);
    CHECK(tensors.at("flag").shape.empty());
    CHECK(tensors.at("flag").n_elements() == 1);
    CHECK(text_of(tensors.at("flag")) == "\1");
    // In place: the bytes are the file's own.
    CHECK(static_cast<const void*>(tensors.at("flag").data.data()) == &bytes.back());
}

TEST_CASE("weights: every element type of the format has its name and size")
{
    const std::vector<std::pair<std::string, std::size_t>> types{
        {"F64", 8},
        {"F32", 4},
        {"F16", 2},
        {"BF16", 2},
        {"F8_E4M3", 1},
        {"F8_E5M2", 1},
        {"I64", 8},
        {"I32", 4},
        {"I16", 2},
        {"I8", 1},
        {"U64", 8},
        {"U32", 4},
        {"U16", 2},
        {"U8", 1},
        {"BOOL", 1}};
    for (const auto& [name, n_bytes] : types) {
        INFO(name);
        const std::string bytes =
            safetensors_builder{}.add("a", name, {3}, std::string(3 * n_bytes, 'x')).str();
        const tensor_map tensors = parsed(bytes);
        CHECK(to_string(tensors.at("a").type) == name);
        CHECK(size_of(tensors.at("a").type) == n_bytes);
        CHECK(tensors.at("a").data.size() == 3 * n_bytes);
    }
}

TEST_CASE("weights: an element type that cannot be used is named")
{
    const std::string known = safetensors_builder{}.add("a", "F4", {4}, "xy").str();
    CHECK(failure(model_errc::unsupported, [&] {
              parsed(known);
          }) == "m.safetensors: tensor 'a': the element type F4 is not supported");
    CHECK_THAT(
        entry_refusal(R"("dtype":"f32","shape":[2],"data_offsets":[0,2])"),
        StartsWith("m.safetensors: tensor 'a': unknown 'dtype' 'f32'; known are F64, F32, "));
    entry_refusal(R"("dtype":"","shape":[2],"data_offsets":[0,2])");
}

TEST_CASE("weights: a tensor without elements takes no bytes, wherever it lies")
{
    const std::string bytes = safetensors_builder{}
                                  .add("first", "F32", {0}, "")
                                  .add("a", "U8", {2}, "xy")
                                  .add("middle", "F32", {4, 0, 3}, "")
                                  .add("same", "F32", {0, 0}, "")
                                  .add("b", "U8", {1}, "z")
                                  .add("last", "F64", {0}, "")
                                  .str();
    const tensor_map tensors = parsed(bytes);
    CHECK(tensors.size() == 6);
    CHECK(tensors.at("middle").data.empty());
    CHECK(tensors.at("middle").n_elements() == 0);
    CHECK(tensors.at("middle").shape == std::vector<std::int64_t>{4, 0, 3});
    CHECK(text_of(tensors.at("b")) == "z");
}

TEST_CASE("weights: a file without tensors is fine")
{
    CHECK(parsed(safetensors_builder::file("{}", "")).empty());
    CHECK(parsed(safetensors_builder::file(R"({"__metadata__":{"a":"b"}})", "")).empty());
}

TEST_CASE("weights: a header may be padded with spaces and list its tensors in any order")
{
    const std::string late = R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]})";
    const std::string header = "{" + late + " ,\n\t\"a\" : {" + good_fields + "}}";
    const std::string padded = safetensors_builder::file(header + "     ", "xyz");
    const tensor_map tensors = parsed(padded);
    CHECK(text_of(tensors.at("a")) == "xy");
    CHECK(text_of(tensors.at("b")) == "z");
}

TEST_CASE("weights: data that lies at odd addresses is given as it lies")
{
    const std::string bytes = safetensors_builder{}
                                  .align_header(1)
                                  .add("pad", "U8", {1}, "-")
                                  .add_f32("a", {2}, {1.5F, -2.5F})
                                  .str();
    const tensor_map tensors = parsed(bytes);
    std::vector<float> values(2);
    std::memcpy(values.data(), tensors.at("a").data.data(), 8);
    CHECK(values == std::vector<float>{1.5F, -2.5F});
}

TEST_CASE("weights: names may hold any text")
{
    const std::string header =
        R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
        R"("\u0061\u0000\u20ac":{"dtype":"\u00558","shape":[1],"data_offsets":[1,2]}})";
    const std::string bytes = safetensors_builder::file(header, "xy");
    const tensor_map tensors = parsed(bytes);
    CHECK(text_of(tensors.at("")) == "x");
    CHECK(text_of(tensors.at(std::string{"a\0\xE2\x82\xAC", 5})) == "y");
}

TEST_CASE("weights: a file cut anywhere is refused")
{
    const std::string bytes = small_file();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        INFO(size);
        CHECK_THAT(refusal(bytes.substr(0, size)), StartsWith("m.safetensors: "));
    }
    CHECK(parsed(bytes).size() == 3);
}

TEST_CASE("weights: a truncated file names the expected size")
{
    const std::string bytes = small_file();
    const std::string size = std::to_string(bytes.size());
    CHECK(
        refusal(bytes.substr(0, bytes.size() - 1)) ==
        "m.safetensors: truncated: tensor 'flag' needs a file of " + size + " bytes, found " +
            std::to_string(bytes.size() - 1) + "; fetch it again");
    CHECK_THAT(
        refusal(bytes.substr(0, 20)),
        Contains("truncated: the header alone needs a file of ") && Contains("found 20"));
    CHECK_THAT(refusal(bytes.substr(0, 7)), EndsWith("expected 8 bytes of header length, found 7"));
}

TEST_CASE("weights: bytes after the last tensor are refused")
{
    const std::string bytes = small_file();
    CHECK(
        refusal(bytes + "x") ==
        "m.safetensors: expected a file of " + std::to_string(bytes.size()) + " bytes, found " +
            std::to_string(bytes.size() + 1) + ": what follows the last tensor belongs to none");
    header_refusal("{}", "x");
}

TEST_CASE("weights: a header length beyond the file or the limit is refused")
{
    const auto refused = [](std::uint64_t length) {
        return refusal(safetensors_builder::with_length(length, "{}", ""));
    };
    CHECK_THAT(refused(0), EndsWith("its header does not begin with '{'"));
    CHECK_THAT(refused(1), Contains("not valid JSON"));
    CHECK_THAT(refused(3), Contains("needs a file of 11 bytes, found 10"));
    CHECK_THAT(refused(100'000'000), Contains("needs a file of 100000008 bytes, found 10"));
    CHECK_THAT(
        refused(100'000'001), Contains("would have 100000001 bytes, the limit is 100000000"));
    for (const std::uint64_t length :
         {std::uint64_t{1} << 32U, std::uint64_t{1} << 63U, ~std::uint64_t{0}, ~std::uint64_t{7}})
        CHECK_THAT(refused(length), Contains("would have " + std::to_string(length) + " bytes"));
}

TEST_CASE("weights: a header that is no JSON object is refused")
{
    for (const std::string header :
         {"", "[]", "null", "1", "\"a\"", " {}", "\n{}", "\xEF\xBB\xBF{}"})
        CHECK_THAT(header_refusal(header), EndsWith("its header does not begin with '{'"));
    for (const std::string header :
         {"{",
          "{}}",
          "{} {}",
          "{},",
          "{\"a\"}",
          "{\"a\":}",
          "{a:1}",
          "{,}",
          "{'a':1}",
          "{/**/}",
          "{\"\xFF\":{}}",
          "{\"\xED\xA0\x80\":{}}",
          "{\"\\ud800\":{}}",
          "{\"\x01\":{}}"}) {
        INFO(header);
        CHECK_THAT(
            header_refusal(header), StartsWith("m.safetensors: the header is not valid JSON: "));
    }
    for (const std::string number : {"01", "NaN", "-", "1.", "0x1", "1e999", "+1"}) {
        INFO(number);
        CHECK_THAT(
            entry_refusal(R"("dtype":"U8","data_offsets":[0,2],"shape":[)" + number + "]"),
            Contains("the header is not valid JSON: "));
    }
}

TEST_CASE("weights: a NUL byte in the header does not hide what follows it")
{
    const std::string text = "{\"a\":{" + good_fields + "}}";
    const std::string nul(1, '\0');
    CHECK_THAT(
        header_refusal(text + nul, "xy"), EndsWith("a NUL byte at " + std::to_string(text.size())));
    CHECK_THAT(header_refusal(text + nul + text, "xy"), Contains("a NUL byte at "));
}

TEST_CASE("weights: hostile nesting is refused or skipped without recursion")
{
    const std::string deep(3'000'000, '[');
    CHECK_THAT(
        header_refusal("{\"a\":" + deep), EndsWith("its entry must be an object, found an array"));
    CHECK_THAT(header_refusal("{\"a\":{\"x\":" + deep), Contains("not valid JSON"));
    const std::string closed = deep + std::string(deep.size(), ']');
    const std::string bytes =
        safetensors_builder::file("{\"a\":{\"x\":" + closed + "," + good_fields + "}}", "xy");
    CHECK(text_of(parsed(bytes).at("a")) == "xy");
}

TEST_CASE("weights: a name that is there twice is refused")
{
    const std::string entry = "\"a\":{" + good_fields + "}";
    CHECK(
        header_refusal("{" + entry + "," + entry + "}", "xy") ==
        "m.safetensors: tensor 'a': the header has this name twice");
    CHECK_THAT(
        header_refusal("{" + entry + ",\"\\u0061\":{" + good_fields + "}}", "xy"),
        EndsWith("twice"));
    for (const std::string field :
         {R"("dtype":"U8")", R"("shape":[2])", R"("data_offsets":[0,2])"}) {
        INFO(field);
        CHECK_THAT(entry_refusal(good_fields + "," + field), EndsWith("is there twice"));
    }
    CHECK_THAT(
        header_refusal(R"({"__metadata__":{},"__metadata__":{}})"),
        EndsWith("the header has '__metadata__' twice"));
}

TEST_CASE("weights: metadata is a map of strings, or null")
{
    const std::string entry = "\"a\":{" + good_fields + "}";
    for (const std::string map : {"{}", "null", R"({"x":"y","shape":"z","x":"w"})"}) {
        const std::string bytes =
            safetensors_builder::file("{\"__metadata__\":" + map + "," + entry + "}", "xy");
        CHECK(parsed(bytes).size() == 1);
    }
    for (const std::string map : {"[]", "\"x\"", "1", "true", "-1", "1.5"})
        CHECK_THAT(
            header_refusal("{\"__metadata__\":" + map + "}"),
            Contains("'__metadata__' must be an object, found "));
    for (const std::string value : {"1", "-1", "1.5", "null", "{}", "[]", "false"})
        CHECK_THAT(
            header_refusal("{\"__metadata__\":{\"x\":" + value + "}}"),
            Contains("'__metadata__' must hold strings only, found "));
}

TEST_CASE("weights: unknown fields of a tensor are skipped")
{
    for (const std::string value :
         {"1",
          "-1",
          "1.5",
          "true",
          "null",
          "\"x\"",
          "[]",
          "{}",
          R"([[1],{"dtype":"F32","shape":[3]},[]])"}) {
        INFO(value);
        const std::string bytes = safetensors_builder::file(
            "{\"a\":{\"extra\":" + value + "," + good_fields + ",\"more\":" + value + "}}", "xy");
        CHECK(text_of(parsed(bytes).at("a")) == "xy");
    }
}

TEST_CASE("weights: an entry must be an object with three fields")
{
    for (const std::string value :
         {"1", "null", "\"x\"", "[\"U8\",[2],[0,2]]", "true", "1.5", "-1"})
        CHECK_THAT(
            header_refusal("{\"a\":" + value + "}"),
            StartsWith("m.safetensors: tensor 'a': its entry must be an object, found "));
    CHECK_THAT(
        entry_refusal(R"("shape":[2],"data_offsets":[0,2])"), EndsWith("its entry lacks 'dtype'"));
    CHECK_THAT(
        entry_refusal(R"("dtype":"U8","data_offsets":[0,2])"), EndsWith("its entry lacks 'shape'"));
    CHECK_THAT(
        entry_refusal(R"("dtype":"U8","shape":[2])"), EndsWith("its entry lacks 'data_offsets'"));
    entry_refusal("");
}

TEST_CASE("weights: fields of another type are refused with what was found")
{
    const auto with =
        [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
            return entry_refusal(
                "\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets);
        };
    for (const std::string bad : {"1", "null", "true", "{\"U8\":null}", "[\"U8\"]", "1.5", "-3"}) {
        INFO(bad);
        CHECK_THAT(with(bad, "[2]", "[0,2]"), Contains("'dtype' must be a string, found "));
    }
    for (const std::string bad :
         {"2",
          "null",
          "\"2\"",
          "{}",
          "[-1]",
          "[-0]",
          "[2.0]",
          "[2e0]",
          "[\"2\"]",
          "[null]",
          "[true]",
          "[[2]]",
          "[{}]",
          "[9223372036854775808]",
          "[18446744073709551615]",
          "[18446744073709551616]",
          "[1e30]"}) {
        INFO(bad);
        CHECK_THAT(
            with("\"U8\"", bad, "[0,2]"),
            Contains("'shape' must be an array of integers in [0, 2^63), found "));
    }
    for (const std::string bad :
         {"2",
          "null",
          "\"x\"",
          "{}",
          "[]",
          "[0]",
          "[0,2,2]",
          "[0,2,[]]",
          "[-1,2]",
          "[0.0,2]",
          "[0,null]",
          "[[0,2]]",
          "[0,18446744073709551616]"}) {
        INFO(bad);
        CHECK_THAT(
            with("\"U8\"", "[2]", bad),
            Contains("'data_offsets' must be an array of two integers in [0, 2^64), found "));
    }
}

TEST_CASE("weights: a shape whose product overflows is refused")
{
    const auto with = [](const std::string& dtype, const std::string& shape) {
        return entry_refusal(
            "\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":[0,2]");
    };
    const std::string overflow = "has more than 2^63 bytes";
    CHECK_THAT(with("U8", "[4294967296,4294967296]"), EndsWith(overflow));
    CHECK_THAT(with("U8", "[9223372036854775807,2]"), EndsWith(overflow));
    CHECK_THAT(with("F64", "[1152921504606846976]"), EndsWith(overflow));
    CHECK_THAT(with("U8", "[9223372036854775807]"), Contains("needs 9223372036854775807"));
    CHECK_THAT(with("F64", "[1152921504606846975]"), Contains("needs 9223372036854775800"));
    // No elements, but strides that cannot be computed.
    CHECK_THAT(with("U8", "[0,4294967296,4294967296]"), EndsWith(overflow));
    CHECK_THAT(with("U8", "[4294967296,4294967296,0]"), EndsWith(overflow));
    CHECK_THAT(with("F64", "[0,9223372036854775807]"), EndsWith(overflow));
}

TEST_CASE("weights: more than 64 dimensions are refused")
{
    const auto file_of_rank = [](std::size_t rank) {
        return safetensors_builder{}.add("a", "U8", std::vector<std::int64_t>(rank, 1), "x").str();
    };
    const std::string most = file_of_rank(64);
    CHECK(parsed(most).at("a").shape.size() == 64);
    CHECK(refusal(file_of_rank(65)) == "m.safetensors: tensor 'a': more than 64 dimensions");
}

TEST_CASE("weights: offsets that disagree with the shape, the order or the data are refused")
{
    const auto with = [](const std::string& offsets) {
        return entry_refusal(R"("dtype":"U8","shape":[2],"data_offsets":)" + offsets);
    };
    CHECK(
        with("[0,1]") ==
        "m.safetensors: tensor 'a': 'data_offsets' [0, 1) hold 1 bytes; U8 [2] needs 2");
    CHECK_THAT(with("[0,3]"), Contains("hold 3 bytes; U8 [2] needs 2"));
    CHECK_THAT(with("[2,0]"), EndsWith("[2, 0) must rise and stay below 2^63"));
    CHECK_THAT(with("[18446744073709551615,1]"), EndsWith("must rise and stay below 2^63"));
    CHECK_THAT(with("[18446744073709551613,18446744073709551615]"), EndsWith("below 2^63"));
    CHECK_THAT(with("[0,18446744073709551615]"), EndsWith("below 2^63"));
    CHECK_THAT(with("[9223372036854775806,9223372036854775808]"), EndsWith("below 2^63"));
    CHECK_THAT(
        with("[9223372036854775805,9223372036854775807]"),
        EndsWith("the bytes [0, 9223372036854775805) of the data, before tensor 'a', belong to no "
                 "tensor"));
    CHECK_THAT(with("[1,3]"), Contains("the bytes [0, 1) of the data, before tensor 'a'"));
}

TEST_CASE("weights: two tensors that overlap are both named")
{
    const auto pair = [](std::pair<std::uint64_t, std::uint64_t> second, std::int64_t size) {
        return refusal(safetensors_builder{}
                           .add("one", "U8", {4}, "wxyz")
                           .entry("two", "U8", {size}, second)
                           .str());
    };
    CHECK(
        pair({3, 5}, 2) ==
        "m.safetensors: the tensors 'one' at [0, 4) and 'two' at [3, 5) overlap");
    CHECK_THAT(pair({0, 4}, 4), Contains("'one' at [0, 4)") && Contains("'two' at [0, 4)"));
    CHECK_THAT(pair({0, 2}, 2), EndsWith("overlap"));
    CHECK_THAT(pair({1, 2}, 1), EndsWith("overlap"));
    CHECK_THAT(pair({2, 2}, 0), EndsWith("overlap"));
}

TEST_CASE("weights: a gap between two tensors is refused")
{
    CHECK(
        refusal(safetensors_builder{}
                    .add("one", "U8", {2}, "xy")
                    .raw_data("-")
                    .add("two", "U8", {1}, "z")
                    .str()) ==
        "m.safetensors: the bytes [2, 3) of the data, before tensor 'two', belong to no tensor");
}

TEST_CASE("weights: messages stay short and printable whatever the names are")
{
    const std::string name = std::string(1'000'000, 'n') + "\\n\\u001b";
    const std::string text = header_refusal("{\"" + name + "\":1}");
    CHECK(text.size() < 300);
    CHECK(header_refusal("{\"a\\n\\u001b\":1}").find_first_of("\n\x1B") == std::string::npos);
    CHECK(entry_refusal("\"dtype\":\"" + std::string(1'000'000, 'n') + "\"").size() < 300);
}

TEST_CASE("weights: random damage to a file is refused or gives tensors inside it")
{
    const std::string bytes = small_file();
    std::mt19937 random{20240607};
    std::uniform_int_distribution<std::size_t> places{0, bytes.size() - 1};
    std::uniform_int_distribution<int> values{0, 255};
    std::size_t n_refused = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::string damaged = bytes;
        for (int i = 0; i <= round % 3; ++i)
            damaged[places(random)] = static_cast<char>(values(random));
        try {
            for (const auto& [name, tensor] : parsed(damaged)) {
                if (tensor.data.empty()) continue;
                const auto* first = reinterpret_cast<const char*>(tensor.data.data());
                REQUIRE(first >= damaged.data());
                REQUIRE(first + tensor.data.size() <= damaged.data() + damaged.size());
            }
        } catch (const error&) {
            ++n_refused;
        }
    }
    CHECK(n_refused > 1000);
}

TEST_CASE("weights: a header of ten thousand tensors is read")
{
    safetensors_builder builder;
    for (int i = 0; i < 10'000; ++i)
        builder.add("model.layers." + std::to_string(i) + ".weight", "BF16", {1, 2}, "wxyz");
    const std::string bytes = builder.str();
    const tensor_map tensors = parsed(bytes);
    CHECK(tensors.size() == 10'000);
    CHECK(text_of(tensors.at("model.layers.9999.weight")) == "wxyz");
}

TEST_CASE("weights: a file is opened, mapped and kept by who holds it")
{
    const testing::temp_dir dir;
    const std::string bytes = small_file();
    const auto path = dir.write("model.safetensors", bytes);
    const std::shared_ptr<const safetensors_file> file = safetensors_file::blocking_open(path);
    std::filesystem::remove(path);  // the mapping stays whole
    CHECK(file->path() == path);
    CHECK(file->file_bytes() == bytes.size());
    REQUIRE(file->tensors().size() == 3);
    CHECK(text_of(file->tensors().at("bias")) == "12345678");
    file->drop_pages();
    CHECK(text_of(file->tensors().at("bias")) == "12345678");
}

TEST_CASE("weights: what is no file of tensors is refused by name")
{
    const testing::temp_dir dir;
    const auto open = [](const std::filesystem::path& path) {
        return failure(model_errc::bad_file, [&path] { safetensors_file::blocking_open(path); });
    };
    CHECK(
        open(dir / "absent.safetensors") ==
        (dir / "absent.safetensors").string() + ": cannot be opened: No such file or directory");
    CHECK_THAT(open(dir.path()), EndsWith(": not a regular file"));
    const auto pipe = dir / "pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    CHECK_THAT(open(pipe), EndsWith("pipe: not a regular file"));
    CHECK_THAT(open(dir.write("empty", "")), EndsWith("empty: the file is empty: fetch it again"));
    CHECK_THAT(open(dir.write("short", "1234567")), Contains("short: not a safetensors file"));
    CHECK_THAT(open(dir.write("cut", small_file().substr(0, 200))), Contains("cut: truncated"));
    CHECK_THAT(
        open(dir.write("pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n")),
        Contains("pointer: not a safetensors file"));
}

TEST_CASE("weights: a shape is written in brackets")
{
    CHECK(shape_text({}) == "[]");
    CHECK(shape_text(std::vector<std::int64_t>{7}) == "[7]");
    CHECK(shape_text(std::vector<std::int64_t>{2, 0, 3}) == "[2, 0, 3]");
}

}  // namespace modelpool::weights
