#include "models/diffusion_weights.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "support/printable.hpp"
#include "weights/gguf_checkpoint.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

using weights::stored_tensor;

// Types that are computed on have the same numbers in both.
std::optional<weights::number_type> number_type_of(weights::gguf_type type) noexcept
{
    if (!weights::block_of(type)) return std::nullopt;
    return static_cast<weights::number_type>(type);
}

std::size_t n_bytes(const stored_tensor& tensor) noexcept
{
    std::size_t sum = 0;
    for (const std::span<const std::byte> piece : tensor.pieces)
        sum += piece.size();
    return sum;
}

std::uint64_t n_elements(const stored_tensor& tensor) noexcept
{
    std::uint64_t product = 1;  // the formats' readers have checked that it fits
    for (const std::int64_t size : tensor.shape)
        product *= static_cast<std::uint64_t>(size);
    return product;
}

[[noreturn]] void refuse(const weight_listing& files, std::string_view name, const std::string& why)
{
    throw error{
        model_errc::bad_file,
        files.name() + ": the tensor " + support::in_quotes(name) + " " + why};
}

// The shares of a tensor's rows, as pieces of it.
stored_tensor
cut(const weight_listing& files,
    std::string_view name,
    const stored_tensor& whole,
    const std::vector<row_share>& shares)
{
    const std::size_t of = shares.front().of;
    const std::int64_t n_rows = whole.shape.empty() ? 0 : whole.shape.front();
    if (n_rows <= 0 || n_rows % static_cast<std::int64_t>(of) != 0)
        refuse(
            files,
            name,
            "of shape " + weights::shape_text(whole.shape) + " cannot be divided into " +
                std::to_string(of) + " equal parts along its rows");
    const std::span<const std::byte> bytes = whole.pieces.front();
    const std::size_t share_bytes = bytes.size() / of;
    stored_tensor result{whole.type, whole.type_name, whole.shape, {}};
    std::size_t n_shares = 0;
    for (const row_share& share : shares) {
        const std::size_t n = share.last - share.first;
        result.pieces.push_back(bytes.subspan(share.first * share_bytes, n * share_bytes));
        n_shares += n;
    }
    result.shape.front() =
        n_rows / static_cast<std::int64_t>(of) * static_cast<std::int64_t>(n_shares);
    return result;
}

}  // namespace

// ---- listing -------------------------------------------------------------------------------------

std::shared_ptr<const weight_listing>
weight_listing::blocking_open(const std::filesystem::path& path)
{
    const std::shared_ptr<weight_listing> result{new weight_listing};
    result->name_ = path.string();
    if (path.extension() == ".gguf")
        result->add(weights::gguf_checkpoint::blocking_open(path));
    else
        result->add(weights::checkpoint::blocking_open(path));
    return result;
}

void weight_listing::add(std::shared_ptr<const weights::checkpoint> files)
{
    const std::shared_ptr<const weights::tensor_source> source = make_tensor_source(files);
    for (std::string& name : files->names()) {
        std::optional<stored_tensor> found = source->find(name);
        if (found) tensors_.emplace(std::move(name), std::move(*found));
    }
    checkpoint_ = std::move(files);
}

void weight_listing::add(std::shared_ptr<const weights::gguf_checkpoint> files)
{
    for (const auto& [name, tensor] : files->tensors()) {
        stored_tensor one;
        one.type = number_type_of(tensor->type);
        one.type_name = *type_names_.insert(weights::to_string(tensor->type)).first;
        one.shape.assign(tensor->dims.rbegin(), tensor->dims.rend());
        one.pieces = {tensor->data};
        tensors_.emplace(std::string{name}, std::move(one));
    }
    gguf_ = std::move(files);
}

const stored_tensor* weight_listing::find(std::string_view name) const
{
    const auto place = tensors_.find(name);
    return place == tensors_.end() ? nullptr : &place->second;
}

std::size_t weight_listing::n_numbered(std::string_view beginning) const
{
    std::size_t n = 0;
    for (auto place = tensors_.lower_bound(beginning);
         place != tensors_.end() && place->first.starts_with(beginning);
         ++place)
        if (const std::optional<std::size_t> index = index_after(place->first, beginning))
            n = std::max(n, *index + 1);
    return n;
}

void weight_listing::drop_pages() const noexcept
{
    if (checkpoint_)
        for (const auto& file : checkpoint_->files())
            file->drop_pages();
    if (gguf_)
        for (const auto& file : gguf_->files())
            file->drop_pages();
}

// ---- part ----------------------------------------------------------------------------------------

part_source::part_source(std::shared_ptr<const weight_listing> files, part_names names)
    : files_{std::move(files)}
    , names_{std::move(names)}
{
    if (names_.table == name_table::sd3)
        counts_.n_blocks = files_->n_numbered(names_.prefix + "joint_blocks.");
    if (names_.table == name_table::vae)
        counts_.n_up_blocks = files_->n_numbered(names_.prefix + "decoder.up.");
    const auto& all = files_->tensors();
    for (auto place = all.lower_bound(names_.prefix);
         place != all.end() && place->first.starts_with(names_.prefix);
         ++place) {
        const std::string_view name = std::string_view{place->first}.substr(names_.prefix.size());
        if (to_diffusers(names_.table, counts_, name).empty()) continue;
        weight_bytes_ += n_bytes(place->second);
        n_parameters_[std::string{place->second.type_name}] += n_elements(place->second);
    }
}

const stored_tensor* part_source::find_stored(const std::string& name) const
{
    const stored_tensor* found = files_->find(names_.prefix + name);
    // T5's table of embeddings has two names, of which one is enough.
    if (found == nullptr && name == "shared.weight")
        found = files_->find(names_.prefix + "encoder.embed_tokens.weight");
    return found;
}

std::optional<stored_tensor> part_source::find(std::string_view name) const
{
    const std::optional<stored_rows> place = to_stored(names_.table, counts_, name);
    if (!place) return std::nullopt;
    const stored_tensor* found = find_stored(place->name);
    if (found == nullptr) return std::nullopt;
    stored_tensor result = place->shares.front() == row_share{}
                               ? *found
                               : cut(*files_, place->name, *found, place->shares);
    if (place->is_1x1 && result.shape.size() == 4) {
        if (result.shape[2] != 1 || result.shape[3] != 1)
            refuse(
                *files_,
                place->name,
                "of shape " + weights::shape_text(result.shape) +
                    " was expected to be a convolution of one pixel");
        result.shape.resize(2);
    }
    // GGUF leaves the dimension of 1 out with which the table of positions begins.
    if (name == "pos_embed.pos_embed" && result.shape.size() == 2)
        result.shape.insert(result.shape.begin(), 1);
    return result;
}

}  // namespace modelpool::models
