#include <modelpool/error.hpp>

#include <set>
#include <utility>

#include "decoder/weight_source.hpp"

namespace modelpool::decoder {
namespace {

class gguf_source final : public weight_source {
public:
    explicit gguf_source(std::shared_ptr<const weights::gguf_checkpoint> file)
        : file_{std::move(file)}
    {}

    bool has(std::string_view name) const override { return file_->find(name) != nullptr; }

    stored_matrix
    matrix(const std::string& name, std::int64_t n_rows, std::int64_t n_columns) const override
    {
        return matrix_of(name, file_->need(name, {n_columns, n_rows}), n_rows, n_columns);
    }

    std::vector<stored_matrix> experts(
        const std::string& name,
        std::int64_t n_experts,
        std::int64_t n_rows,
        std::int64_t n_columns) const override
    {
        const weights::gguf_tensor& tensor = file_->need(name, {n_columns, n_rows, n_experts});
        const stored_matrix all = matrix_of(name, tensor, n_rows * n_experts, n_columns);
        const std::size_t n_bytes = all.data.size() / static_cast<std::size_t>(n_experts);
        std::vector<stored_matrix> made;
        for (std::size_t i = 0; i < static_cast<std::size_t>(n_experts); ++i)
            made.push_back({all.type, n_rows, n_columns, all.data.subspan(i * n_bytes, n_bytes)});
        return made;
    }

    std::vector<float> numbers(const std::string& name, std::int64_t n) const override
    {
        const weights::gguf_tensor& tensor = file_->need(name, {n});
        const stored_matrix row = matrix_of(name, tensor, 1, n);
        std::vector<float> values(static_cast<std::size_t>(n));
        kernels::dequantize_row(row.type, row.data.data(), n, values.data());
        return values;
    }

    void release(const stored_matrix& matrix) const noexcept override
    {
        for (const auto& part : file_->files())
            part->drop_pages(matrix.data);
    }

    std::vector<std::string> unused() const override
    {
        std::vector<std::string> names;
        for (const auto& [name, tensor] : file_->tensors())
            if (!used_.contains(name)) names.emplace_back(name);
        return names;
    }

    std::size_t weight_bytes() const noexcept override { return file_->weight_bytes(); }

private:
    // The reader has checked that rows are whole blocks, and that the data holds all of them.
    stored_matrix matrix_of(
        const std::string& name,
        const weights::gguf_tensor& tensor,
        std::int64_t n_rows,
        std::int64_t n_columns) const
    {
        used_.insert(name);
        return {static_cast<kernels::block_type>(tensor.type), n_rows, n_columns, tensor.data};
    }

    std::shared_ptr<const weights::gguf_checkpoint> file_;
    mutable std::set<std::string, std::less<>> used_;
};

}  // namespace

std::unique_ptr<weight_source>
make_weight_source(std::shared_ptr<const weights::gguf_checkpoint> file)
{
    return std::make_unique<gguf_source>(std::move(file));
}

}  // namespace modelpool::decoder
