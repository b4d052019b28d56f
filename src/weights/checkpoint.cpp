#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

#include "support/json.hpp"
#include "support/printable.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::weights {
namespace {

namespace fs = std::filesystem;
using support::in_quotes;

constexpr std::string_view single_name = "model.safetensors";
constexpr std::string_view index_name = "model.safetensors.index.json";
// 100,000 tensors, as a mixture of experts may have, take about 12 MiB.
constexpr std::size_t max_index_bytes = std::size_t{64} << 20U;

// Extensions of weight files that are not read, and what to do about them.
constexpr std::array<std::pair<std::string_view, std::string_view>, 10> other_formats{
    {{".bin", "convert it to safetensors"},
     {".pt", "convert it to safetensors"},
     {".pth", "convert it to safetensors"},
     {".ckpt", "convert it to safetensors"},
     {".h5", "convert it to safetensors"},
     {".msgpack", "convert it to safetensors"},
     {".npz", "convert it to safetensors"},
     {".onnx", "fetch the safetensors version"},
     {".gguf", "give the path of the file itself"},
     {".safetensors", "give the path of the file itself"}}};

[[noreturn]] void fail(const fs::path& path, const std::string& sentence)
{
    throw error{model_errc::bad_file, support::printable(path.native(), 4096) + ": " + sentence};
}

// Whether the folder has that name, even as a link to nowhere: opening it then says what is wrong.
bool has(const fs::path& dir, std::string_view name)
{
    std::error_code problem;
    const fs::file_status status = fs::symlink_status(dir / name, problem);
    return fs::exists(status);
}

// "pytorch_model.bin (convert it to safetensors)" for each weight file of `dir` in a format that is
// not read.
std::string other_weights(const fs::path& dir)
{
    constexpr std::size_t max_listed = 5;
    std::vector<std::string> found;
    std::error_code problem;
    for (fs::directory_iterator place{dir, problem}; !problem && place != fs::directory_iterator{};
         place.increment(problem)) {
        const std::string extension = place->path().extension().string();
        for (const auto& [ending, advice] : other_formats)
            if (extension == ending)
                found.push_back(
                    support::printable(place->path().filename().native()) + " (" +
                    std::string{advice} + ")");
    }
    std::sort(found.begin(), found.end());
    std::string text;
    for (std::size_t i = 0; i < std::min(found.size(), max_listed); ++i)
        text += (i == 0 ? "" : ", ") + found[i];
    if (found.size() > max_listed)
        text += " and " + std::to_string(found.size() - max_listed) + " more";
    return text;
}

// A shard lies beside its index: a name that leads elsewhere would open any file of this machine.
bool is_plain_name(std::string_view name)
{
    return !name.empty() && name != "." && name != ".." &&
           name.find_first_of(std::string_view{"/\\\0", 3}) == std::string_view::npos;
}

// A tensor's name and its shard's, as the index has them.
using shard_map = std::map<std::string, std::string>;

shard_map blocking_read_index(const fs::path& path)
{
    const support::json_file index =
        support::json_file::blocking_read(path, model_errc::bad_file, max_index_bytes);
    if (!index.root().is_object())
        index.fail(std::string{"expected an object, found "} + index.root().type_name());
    const auto map = index.root().find("weight_map");
    if (map == index.root().end() || !map->is_object())
        index.fail("'weight_map' must be an object of tensor and file names");
    shard_map shards;
    for (const auto& [tensor, shard] : map->items()) {
        if (!shard.is_string())
            index.fail(
                "'weight_map': the file of tensor " + in_quotes(tensor) +
                " must be a string, found " + shard.type_name());
        const std::string& name = shard.get_ref<const std::string&>();
        if (!is_plain_name(name))
            index.fail(
                "'weight_map': the file of tensor " + in_quotes(tensor) +
                " must be a name in the index's own folder, found " + in_quotes(name));
        shards.emplace(tensor, name);
    }
    if (shards.empty()) index.fail("'weight_map' names no tensor");
    return shards;
}

}  // namespace

std::shared_ptr<const checkpoint>
checkpoint::of_tensors(fs::path path, tensor_map tensors, std::shared_ptr<const void> owner)
{
    const std::shared_ptr<checkpoint> result{new checkpoint};
    result->path_ = std::move(path);
    result->own_ = std::move(tensors);
    result->owner_ = std::move(owner);
    for (const auto& [name, tensor] : result->own_)
        result->tensors_.emplace(name, &tensor);
    return result;
}

std::shared_ptr<const checkpoint> checkpoint::blocking_open(const fs::path& path)
{
    const std::shared_ptr<checkpoint> result{new checkpoint};
    result->path_ = path;
    std::error_code problem;
    const fs::file_status status = fs::status(path, problem);
    if (!fs::is_directory(status)) {
        if (!fs::exists(status)) fail(path, "no such folder or file");
        if (path.extension() == ".json")
            result->blocking_add_shards(path);
        else if (path.extension() == ".safetensors")
            result->add(safetensors_file::blocking_open(path));
        else
            fail(path, "neither a folder nor a .safetensors file");
    } else if (has(path, single_name)) {
        result->add(safetensors_file::blocking_open(path / single_name));
    } else if (has(path, index_name)) {
        result->blocking_add_shards(path / index_name);
    } else {
        const std::string others = other_weights(path);
        fail(
            path,
            "no weights: looked for " + std::string{single_name} + " and " +
                std::string{index_name} + (others.empty() ? "" : "; found " + others));
    }
    return result;
}

void checkpoint::add(std::shared_ptr<const safetensors_file> file)
{
    for (const auto& [name, tensor] : file->tensors()) {
        if (tensors_.try_emplace(name, &tensor).second) continue;
        const auto has_it = [&name = name](const auto& other) {
            return other->tensors().contains(name);
        };
        const auto first = std::find_if(files_.begin(), files_.end(), has_it);
        fail(
            file->path(),
            "the tensor " + in_quotes(name) + " is in " +
                support::printable((*first)->path().filename().native()) + " too");
    }
    files_.push_back(std::move(file));
}

void checkpoint::blocking_add_shards(const fs::path& index)
{
    const shard_map wanted = blocking_read_index(index);
    std::map<std::string_view, const safetensors_file*> opened;
    for (const auto& [tensor, shard] : wanted) {
        const auto [place, is_new] = opened.try_emplace(shard, nullptr);
        if (is_new) {
            add(safetensors_file::blocking_open(index.parent_path() / shard));
            place->second = files_.back().get();
        }
        if (!place->second->tensors().contains(tensor))
            fail(
                place->second->path(),
                "lacks the tensor " + in_quotes(tensor) + ", which " + index.filename().string() +
                    " says is there");
    }
}

const tensor_view* checkpoint::find(std::string_view name) const noexcept
{
    const auto place = tensors_.find(name);
    return place == tensors_.end() ? nullptr : place->second;
}

std::vector<std::string> checkpoint::names() const
{
    std::vector<std::string> result;
    result.reserve(tensors_.size());
    for (const auto& [name, tensor] : tensors_)
        result.emplace_back(name);
    return result;
}

void checkpoint::drop_pages(std::span<const std::byte> part) const noexcept
{
    for (const auto& file : files_)
        file->drop_pages(part);
}

std::size_t checkpoint::weight_bytes() const noexcept
{
    std::size_t sum = 0;
    for (const auto& [name, tensor] : tensors_)
        sum += tensor->data.size();
    return sum;
}

}  // namespace modelpool::weights
