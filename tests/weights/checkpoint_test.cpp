#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "support/failure.hpp"
#include "support/safetensors_builder.hpp"
#include "support/temp_dir.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::weights {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using testing::failure;
using testing::safetensors_builder;
using testing::temp_dir;

constexpr std::string_view single_name = "model.safetensors";
constexpr std::string_view index_name = "model.safetensors.index.json";

std::string one_tensor(std::string_view name, std::string_view bytes)
{
    return safetensors_builder{}
        .add(name, "U8", {static_cast<std::int64_t>(bytes.size())}, bytes)
        .str();
}

std::string index_of(const std::vector<std::pair<std::string, std::string>>& shards)
{
    nlohmann::json map = nlohmann::json::object();
    for (const auto& [tensor, shard] : shards)
        map[tensor] = shard;
    return nlohmann::json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump();
}

std::string refusal(const std::filesystem::path& path)
{
    return failure(model_errc::bad_file, [&path] { checkpoint::blocking_open(path); });
}

char first_byte(const checkpoint& weights, std::string_view name)
{
    const tensor_view* tensor = weights.find(name);
    REQUIRE(tensor != nullptr);
    return std::to_integer<char>(tensor->data[0]);
}

}  // namespace

TEST_CASE("checkpoint: a folder with one file gives its tensors")
{
    const temp_dir dir;
    dir.write(
        single_name,
        safetensors_builder{}.add("b", "U8", {2}, "xy").add("a", "U8", {1}, "z").str());
    const auto weights = checkpoint::blocking_open(dir.path());
    CHECK(weights->path() == dir.path());
    CHECK(weights->files().size() == 1);
    CHECK(weights->n_tensors() == 2);
    CHECK(weights->weight_bytes() == 3);
    CHECK(weights->names() == std::vector<std::string>{"a", "b"});
    CHECK(first_byte(*weights, "b") == 'x');
    CHECK(weights->find("c") == nullptr);
    CHECK(weights->find("") == nullptr);
}

TEST_CASE("checkpoint: a file can be opened by its own name")
{
    const temp_dir dir;
    const auto path = dir.write("adapter.safetensors", one_tensor("a", "x"));
    const auto weights = checkpoint::blocking_open(path);
    CHECK(weights->path() == path);
    CHECK(first_byte(*weights, "a") == 'x');
    CHECK_THAT(
        refusal(dir.write("notes.txt", "x")), EndsWith("neither a folder nor a .safetensors file"));
}

TEST_CASE("checkpoint: shards are joined by their index")
{
    const temp_dir dir;
    dir.write(
        "model-1.safetensors",
        safetensors_builder{}.add("a", "U8", {1}, "1").add("unlisted", "U8", {1}, "u").str());
    dir.write("model-2.safetensors", one_tensor("b", "22"));
    dir.write(index_name, index_of({{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}}));
    const auto weights = checkpoint::blocking_open(dir.path());
    CHECK(weights->files().size() == 2);
    CHECK(weights->names() == std::vector<std::string>{"a", "b", "unlisted"});
    CHECK(weights->weight_bytes() == 4);
    CHECK(first_byte(*weights, "a") == '1');
    CHECK(first_byte(*weights, "b") == '2');
}

TEST_CASE("checkpoint: the single file is preferred to an index")
{
    const temp_dir dir;
    dir.write(single_name, one_tensor("a", "s"));
    dir.write("model-1.safetensors", one_tensor("a", "i"));
    dir.write(index_name, index_of({{"a", "model-1.safetensors"}}));
    CHECK(first_byte(*checkpoint::blocking_open(dir.path()), "a") == 's');
}

TEST_CASE("checkpoint: links to files are followed, and one to nowhere is named")
{
    const temp_dir dir;
    const auto blob = dir.write("blobs/0123", one_tensor("a", "x"));
    const auto snapshot = dir.make_dir("snapshot");
    std::filesystem::create_symlink(blob, snapshot / single_name);
    CHECK(first_byte(*checkpoint::blocking_open(snapshot), "a") == 'x');
    std::filesystem::remove(blob);
    CHECK_THAT(
        refusal(snapshot),
        EndsWith("model.safetensors: cannot be opened: No such file or directory"));
}

TEST_CASE("checkpoint: a folder without weights says what was looked for and found")
{
    const temp_dir dir;
    const std::string looked =
        ": no weights: looked for model.safetensors and model.safetensors.index.json";
    CHECK(refusal(dir.path()) == dir.path().string() + looked);
    dir.write("config.json", "{}");
    CHECK(refusal(dir.path()) == dir.path().string() + looked);
    dir.write("pytorch_model.bin", "x");
    CHECK(
        refusal(dir.path()) ==
        dir.path().string() + looked + "; found pytorch_model.bin (convert it to safetensors)");
    dir.write("model-q4.gguf", "x");
    dir.write("unet.safetensors", "x");
    CHECK_THAT(
        refusal(dir.path()),
        EndsWith("; found model-q4.gguf (give the path of the file itself), pytorch_model.bin "
                 "(convert it "
                 "to safetensors), unet.safetensors (give the path of the file itself)"));
    for (int i = 0; i < 9; ++i)
        dir.write("part-" + std::to_string(i) + ".bin", "x");
    CHECK_THAT(refusal(dir.path()), EndsWith(" and 7 more"));
    CHECK_THAT(refusal(dir / "absent"), EndsWith("absent: no such folder or file"));
}

TEST_CASE("checkpoint: a shard name that leaves the folder is refused")
{
    const temp_dir dir;
    const auto outside = dir.write("outside.safetensors", one_tensor("a", "x"));
    const auto inner = dir.make_dir("inner");
    dir.make_dir("inner/sub");
    dir.write("inner/sub/x.safetensors", one_tensor("a", "x"));
    const std::vector<std::string> names{
        "../outside.safetensors",
        outside.string(),
        "sub/x.safetensors",
        "./x",
        "..",
        ".",
        "",
        "/",
        "..\\outside.safetensors",
        std::string{"x\0y", 3}};
    for (const std::string& name : names) {
        INFO(name);
        dir.write("inner/" + std::string{index_name}, index_of({{"a", name}}));
        CHECK_THAT(
            refusal(inner),
            Contains(
                "'weight_map': the file of tensor 'a' must be a name in the index's own folder"));
    }
}

TEST_CASE("checkpoint: a missing shard, and a shard without its tensor, are named")
{
    const temp_dir dir;
    dir.write("model-1.safetensors", one_tensor("a", "x"));
    dir.write(index_name, index_of({{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}}));
    CHECK_THAT(
        refusal(dir.path()),
        EndsWith("model-2.safetensors: cannot be opened: No such file or directory"));
    dir.write("model-2.safetensors", one_tensor("c", "y"));
    CHECK(
        refusal(dir.path()) ==
        (dir / "model-2.safetensors").string() +
            ": lacks the tensor 'b', which model.safetensors.index.json says is there");
    dir.write("model-2.safetensors", one_tensor("b", "y").substr(0, 40));
    CHECK_THAT(refusal(dir.path()), Contains("model-2.safetensors: truncated"));
}

TEST_CASE("checkpoint: a tensor in two shards is refused with both files named")
{
    const temp_dir dir;
    dir.write("model-1.safetensors", one_tensor("a", "x"));
    dir.write(
        "model-2.safetensors",
        safetensors_builder{}.add("a", "U8", {1}, "x").add("b", "U8", {1}, "y").str());
    dir.write(index_name, index_of({{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}}));
    CHECK(
        refusal(dir.path()) ==
        (dir / "model-2.safetensors").string() + ": the tensor 'a' is in model-1.safetensors too");
}

TEST_CASE("checkpoint: a malformed index is refused")
{
    const temp_dir dir;
    const auto with = [&dir](std::string_view index) {
        dir.write(index_name, index);
        return refusal(dir.path());
    };
    const std::string path = (dir / index_name).string();
    CHECK_THAT(with(""), StartsWith(path + ": not valid JSON: "));
    CHECK_THAT(with("{\"weight_map\": {"), StartsWith(path + ": not valid JSON: "));
    CHECK(with("[]") == path + ": expected an object, found array");
    const std::string no_map = path + ": 'weight_map' must be an object of tensor and file names";
    for (const std::string index :
         {"{}", "{\"weight_map\": null}", "{\"weight_map\": [\"a\"]}", "{\"weight_map\": \"a\"}"})
        CHECK(with(index) == no_map);
    CHECK(with("{\"weight_map\": {}}") == path + ": 'weight_map' names no tensor");
    CHECK(
        with("{\"weight_map\": {\"a\": 1}}") ==
        path + ": 'weight_map': the file of tensor 'a' must be a string, found number");
    CHECK_THAT(with("{\"weight_map\": {\"a\": {}}}"), EndsWith("must be a string, found object"));
}

}  // namespace modelpool::weights
