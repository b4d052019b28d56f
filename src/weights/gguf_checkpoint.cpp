#include "weights/gguf_checkpoint.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "support/printable.hpp"

namespace modelpool::weights {
namespace {

namespace fs = std::filesystem;
using support::in_quotes;

constexpr std::int64_t most_parts = 65'535;  // the format counts them in 16 bits
constexpr std::int64_t most_tensors = 2'147'483'647;

// "-00001-of-00003.gguf"
std::string part_ending(std::int64_t number, std::int64_t n_parts)
{
    char text[64];
    std::snprintf(
        text,
        sizeof text,
        "-%05lld-of-%05lld.gguf",
        static_cast<long long>(number),
        static_cast<long long>(n_parts));
    return text;
}

std::string dims_text(const std::vector<std::int64_t>& dims)
{
    std::string text = "[";
    for (std::size_t i = 0; i < dims.size(); ++i)
        text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
    return text + "]";
}

std::vector<std::int64_t> without_ones(std::vector<std::int64_t> dims)
{
    while (!dims.empty() && dims.back() == 1)
        dims.pop_back();
    return dims;
}

}  // namespace

std::shared_ptr<const gguf_checkpoint> gguf_checkpoint::blocking_open(const fs::path& path)
{
    const std::shared_ptr<gguf_checkpoint> made{new gguf_checkpoint};
    made->add(gguf_file::blocking_open(path));
    const gguf_header& first = made->header();
    const std::int64_t n_parts = first.find_int("split.count", 0, most_parts).value_or(0);
    const std::int64_t number = first.find_int("split.no", 0, most_parts).value_or(0);
    if (n_parts > 1) {
        if (number != 0)
            first.fail(
                "is part " + std::to_string(number + 1) + " of " + std::to_string(n_parts) +
                " of a model: give the path of its first part, which ends in " +
                part_ending(1, n_parts));
        made->blocking_add_parts(n_parts);
    }
    return made;
}

void gguf_checkpoint::blocking_add_parts(std::int64_t n_parts)
{
    const gguf_header& first = header();
    const fs::path path = files_.front()->path();
    const std::string name = path.filename().string();
    const std::string ending = part_ending(1, n_parts);
    if (!name.ends_with(ending) || name.size() == ending.size())
        first.fail(
            "is the first of " + std::to_string(n_parts) + " parts, so that its name must end in " +
            ending + " for the others to be found");
    const std::string stem = name.substr(0, name.size() - ending.size());
    for (std::int64_t i = 1; i < n_parts; ++i) {
        auto part =
            gguf_file::blocking_open(path.parent_path() / (stem + part_ending(i + 1, n_parts)));
        const gguf_header& about = part->header();
        const std::int64_t number = about.need_int("split.no", 0, most_parts);
        const std::int64_t count = about.need_int("split.count", 0, most_parts);
        if (number != i || count != n_parts)
            about.fail(
                "must be part " + std::to_string(i + 1) + " of " + std::to_string(n_parts) +
                ", found part " + std::to_string(number + 1) + " of " + std::to_string(count));
        add(std::move(part));
    }
    const auto promised = first.find_int("split.tensors.count", 0, most_tensors);
    if (promised && static_cast<std::size_t>(*promised) != tensors_.size())
        first.fail(
            "promises " + std::to_string(*promised) + " tensors in " + std::to_string(n_parts) +
            " parts, found " + std::to_string(tensors_.size()));
}

void gguf_checkpoint::add(std::shared_ptr<const gguf_file> file)
{
    for (const auto& [name, tensor] : file->header().tensors())
        if (!tensors_.try_emplace(name, &tensor).second)
            file->header().fail(
                "has the tensor " + in_quotes(name) + ", which another part has already");
    files_.push_back(std::move(file));
}

const gguf_tensor* gguf_checkpoint::find(std::string_view name) const noexcept
{
    const auto place = tensors_.find(name);
    return place == tensors_.end() ? nullptr : place->second;
}

const gguf_tensor&
gguf_checkpoint::need(std::string_view name, std::initializer_list<std::int64_t> dims) const
{
    const gguf_tensor* const found = find(name);
    if (found == nullptr)
        throw error{
            model_errc::missing_tensor, this->name() + ": lacks the tensor " + in_quotes(name)};
    const auto describe = [&] { return this->name() + ": the tensor " + in_quotes(name); };
    const std::vector<std::int64_t> wanted{dims};
    if (without_ones(found->dims) != without_ones(wanted))
        throw error{
            model_errc::shape_mismatch,
            describe() + " must have the dimensions " + dims_text(wanted) + ", found " +
                dims_text(found->dims)};
    if (!block_of(found->type))
        throw error{
            model_errc::unsupported,
            describe() + " is stored as " + to_string(found->type) +
                ", which is not supported; take a file of another quantisation"};
    return *found;
}

std::size_t gguf_checkpoint::weight_bytes() const noexcept
{
    std::size_t sum = 0;
    for (const auto& [name, tensor] : tensors_)
        sum += tensor->data.size();
    return sum;
}

std::size_t gguf_checkpoint::file_bytes() const noexcept
{
    std::size_t sum = 0;
    for (const auto& file : files_)
        sum += file->file_bytes();
    return sum;
}

void gguf_checkpoint::drop_pages(const gguf_tensor& tensor) const noexcept
{
    for (const auto& file : files_)
        file->drop_pages(tensor.data);
}

}  // namespace modelpool::weights
